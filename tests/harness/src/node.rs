//! A node: a namespace that stands for a machine, and the agent in it.

use std::fs::OpenOptions;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use overlay::api::{EndpointRow, NetworkDetail, Status};
use serde::de::DeserializeOwned;

use crate::netns::Netns;
use crate::wait::eventually;
use crate::{binaries, command, underlay};

/// How long an agent may take to answer after its start, or to end.
const START_OR_STOP: Duration = Duration::from_secs(20);

/// The manager API's port, the default.
const API_PORT: u16 = 2377;

/// A node's host name, and that of its folder and of its port at the switch.
pub(crate) fn name_of(number: u8) -> String {
    format!("n{number}")
}

/// One machine of the lab. Dropping it kills its agent.
pub struct Node {
    number: u8,
    name: String,
    netns: Netns,
    addr: IpAddr,
    folder: PathBuf,
    program: Mutex<Option<PathBuf>>,
    agent: Mutex<Option<Child>>,
}

impl Node {
    pub(crate) fn new(number: u8, netns: Netns, addr: IpAddr, lab: &Path, config: &str) -> Result<Self> {
        let name = name_of(number);
        let folder = lab.join(&name);
        let node =
            Self { number, name, netns, addr, folder, program: Mutex::default(), agent: Mutex::default() };
        std::fs::create_dir_all(node.bpf_dir()).with_context(|| node.bpf_dir().display().to_string())?;
        // Mounted before the agent starts and outside of it, so that what it pins outlives it.
        mount(Some("bpf"), &node.bpf_dir(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a bpffs")?;
        std::fs::write(node.config(), node.config_text() + config)?;
        Ok(node)
    }

    /// Its host name, `n1` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The address that it advertises.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Its address of a family, whether it advertises that one or not. In a lab over IPv6 it has no other.
    pub fn address(&self, ipv6: bool) -> IpAddr {
        underlay::address(self.number, ipv6)
    }

    /// The bpffs that the agent pins to.
    pub fn bpf_dir(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// What is pinned there now, sorted.
    pub fn pins(&self) -> Vec<PathBuf> {
        let mut pins = files_under(&self.bpf_dir());
        pins.sort();
        pins
    }

    /// What the agent keeps over a restart.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What the agent logged, of all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts the agent and waits until it answers.
    ///
    /// # Errors
    /// It ends, or never answers; then with the end of its log.
    pub fn start(&self) -> Result<()> {
        ensure!(self.agent().is_none(), "{} has an agent already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let child =
            self.netns.start(self.overlayd(&[])?.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
        *self.agent() = Some(child);
        let answered = eventually(&format!("{}'s agent answers", self.name), START_OR_STOP, || {
            // Once it has ended, waiting is over.
            Ok(match self.exited()? {
                Some(status) => Err(anyhow!("the agent ended with {status}")),
                None => Ok(self.status()?),
            })
        });
        answered
            .flatten()
            .with_context(|| format!("{}'s log ends with:\n{}", self.name, tail(&self.log())))
            .map(drop)
    }

    /// Installs another agent: from the next start on, it is what runs.
    ///
    /// # Panics
    /// A test panicked in the middle of this.
    pub fn install(&self, program: PathBuf) {
        *self.program.lock().expect("no test panics while it holds this") = Some(program);
    }

    /// The process id of the agent.
    ///
    /// # Errors
    /// None runs.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.agent().as_ref().context("no agent runs")?.id())
    }

    /// Runs the agent where it is expected to end by itself, and hands back what it said (both exit codes
    /// are fine) with whether it succeeded.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub fn run_agent(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let path = self.folder.join("run-agent.log");
        let log = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
        let mut command = self.overlayd(arguments)?;
        let mut child = self.netns.start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
        let ended =
            eventually("the agent ends by itself", START_OR_STOP, || child.try_wait()?.context("it runs"));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let said = std::fs::read_to_string(path)?;
        Ok((ended.with_context(|| said.clone())?.success(), said))
    }

    /// Ends the agent at once, as a crash does (SIGKILL).
    ///
    /// # Errors
    /// None runs.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.agent().take().context("no agent to kill")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends the agent as a service manager does (SIGTERM), and waits for it.
    ///
    /// # Errors
    /// It does not end, or not with success.
    pub fn stop(&self) -> Result<()> {
        let pid = self.pid()?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
        let status = eventually("the agent ends after SIGTERM", START_OR_STOP, || {
            self.exited()?.context("it runs on")
        })?;
        ensure!(status.success(), "the agent ended with {status} after SIGTERM:\n{}", tail(&self.log()));
        *self.agent() = None;
        Ok(())
    }

    /// Runs `overlayctl` against this node's agent.
    ///
    /// # Errors
    /// It fails; then with what it said on stderr.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        command::output(self.overlayctl()?.args(arguments)).with_context(|| format!("on {}", self.name))
    }

    /// Runs `overlayctl` where it must fail, and hands back what it said.
    ///
    /// # Errors
    /// It succeeds.
    pub fn ctl_fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl_output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "overlayctl {} succeeded on {}", arguments.join(" "), self.name);
        Ok(said)
    }

    /// Runs `overlayctl` where it succeeds, and hands back what it said on stderr.
    ///
    /// # Errors
    /// It fails; then with that.
    pub fn ctl_says(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl_output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "overlayctl {} on {}: {said}", arguments.join(" "), self.name);
        Ok(said)
    }

    /// Runs `overlayctl` where it may succeed or fail, and hands back all that it said.
    ///
    /// # Errors
    /// It could not be started.
    pub fn ctl_output(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.overlayctl()?.args(arguments).stdin(Stdio::null()).output()?)
    }

    /// Freezes the agent as it is (SIGSTOP), or lets it go on (SIGCONT). Its data path goes on in any case.
    ///
    /// # Errors
    /// None runs.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        Ok(kill(Pid::from_raw(self.pid()?.cast_signed()), signal)?)
    }

    /// Runs `overlayctl` with `--format json`, and hands back what that means.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn ctl_json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.ctl(&[arguments, &["--format", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("overlayctl {}: {text}", arguments.join(" ")))
    }

    /// How the node is.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn status(&self) -> Result<Status> {
        let text = self.ctl(&["status", "-o", "json"])?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// Waits until the node is Ready.
    ///
    /// # Errors
    /// What keeps it from it.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        self.ctl(&["status", "--wait", "--timeout", &limit.as_secs().to_string()]).map(drop)
    }

    /// Makes it the first node of a cluster, and hands back the join token.
    ///
    /// # Errors
    /// What `overlayctl` said.
    pub fn init_cluster(&self) -> Result<String> {
        let token = self.ctl(&["cluster", "init", "-q", "--advertise-addr", &self.addr.to_string()])?;
        Ok(token.trim().to_owned())
    }

    /// Makes it a member of the cluster that `manager` is in.
    ///
    /// # Errors
    /// What `overlayctl` said.
    pub fn join_cluster(&self, token: &str, manager: &Self) -> Result<()> {
        let (manager, own) = (SocketAddr::new(manager.addr, API_PORT).to_string(), self.addr.to_string());
        self.ctl(&["cluster", "join", "--token", token, &manager, "--advertise-addr", &own]).map(drop)
    }

    /// Attaches a namespace to a network; [`crate::Lab::attach`] makes the namespace too.
    ///
    /// # Errors
    /// What `overlayctl` said.
    pub fn attach(&self, netns: &Netns, network: &str, name: &str, flags: &[&str]) -> Result<EndpointRow> {
        let base = ["endpoint", "attach", "--netns", netns.name(), "--network", network, "--name", name];
        self.ctl_json(&[&base, flags].concat())
    }

    /// What the agent at this node says of a network.
    ///
    /// # Errors
    /// What `overlayctl` said.
    pub fn network(&self, network: &str) -> Result<NetworkDetail> {
        let text = self.ctl(&["network", "inspect", network])?;
        let [detail] = serde_json::from_str::<[NetworkDetail; 1]>(&text).with_context(|| text.clone())?;
        Ok(detail)
    }

    /// The endpoints of all nodes, as this one knows them: `NETWORK/NAME`, sorted.
    ///
    /// # Errors
    /// What `overlayctl` said.
    pub fn endpoints(&self) -> Result<Vec<String>> {
        let rows: Vec<EndpointRow> = self.ctl_json(&["endpoint", "ls"])?;
        let mut names: Vec<_> =
            rows.iter().map(|row| format!("{}/{}", row.network_name, row.endpoint.name)).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join("overlayd.log")
    }

    pub(crate) fn overlayctl(&self) -> Result<Command> {
        let mut command = Command::new(binaries::overlayctl()?);
        command.arg("--socket").arg(self.socket());
        Ok(command)
    }

    fn overlayd(&self, arguments: &[&str]) -> Result<Command> {
        let installed = self.program.lock().expect("no test panics while it holds this").clone();
        let mut command = Command::new(installed.map_or_else(binaries::overlayd, Ok)?);
        command.args(arguments).arg("--config").arg(self.config());
        Ok(command)
    }

    fn exited(&self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.agent().as_mut().context("no agent")?.try_wait()?)
    }

    fn agent(&self) -> MutexGuard<'_, Option<Child>> {
        self.agent.lock().expect("no test panics while it holds this")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("overlayd.toml")
    }

    /// The Unix socket of its local API.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("overlayd.sock")
    }

    /// `OVERLAY_LAB_LOG` asks the agents for more than they would say.
    fn config_text(&self) -> String {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        format!(
            "hostname = {:?}\nstate_dir = {}\nsocket = {}\nbpf_dir = {}\nlog = {:?}\n",
            self.name,
            quoted(&self.state_dir()),
            quoted(&self.socket()),
            quoted(&self.bpf_dir()),
            std::env::var("OVERLAY_LAB_LOG").unwrap_or_else(|_| "info".to_owned()),
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(Some(child)) = self.agent.get_mut().map(Option::as_mut) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_under(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}
