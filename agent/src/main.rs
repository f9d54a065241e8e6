//! `overlayd`: reads flags and the configuration file, sets up logging, and runs the agent until SIGTERM.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use overlay::config::{Config, MeshHook, Overrides};
use tracing_subscriber::EnvFilter;

/// Where the configuration is looked for if `--config` names no file.
const DEFAULT_CONFIG: &str = "/etc/overlay/overlayd.toml";

/// The agent of an Overlay node: run one on every host.
///
/// It runs in the foreground and logs to standard error. SIGTERM ends it and leaves the data path in place, so
/// that traffic goes on while it is restarted or upgraded; `overlayd cleanup` removes everything that it made.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Settings,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Remove the devices, programs, maps and state that the agent made here; it must not be running.
    Cleanup,
}

#[derive(Args)]
struct Settings {
    /// The configuration file (TOML); without it, /etc/overlay/overlayd.toml if that exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's name for people [default: the machine's host name].
    #[arg(long, global = true, value_name = "NAME")]
    hostname: Option<String>,
    /// What survives a restart [default: /var/lib/overlay].
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The Unix socket of the local API [default: /run/overlay/overlayd.sock].
    #[arg(long, global = true, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// A folder on bpffs for the pinned data path [default: /sys/fs/bpf/overlay].
    #[arg(long, global = true, value_name = "DIR")]
    bpf_dir: Option<PathBuf>,
    /// The VXLAN port, UDP [default: 4789].
    #[arg(long, global = true, value_name = "PORT")]
    data_port: Option<u16>,
    /// The gossip port, UDP and TCP [default: 7946].
    #[arg(long, global = true, value_name = "PORT")]
    gossip_port: Option<u16>,
    /// The manager API's port, TCP [default: 2377].
    #[arg(long, global = true, value_name = "PORT")]
    api_port: Option<u16>,
    /// Where clients' packets for published ports are passed on: auto, xdp or tc [default: auto].
    #[arg(long, global = true, value_name = "HOOK")]
    mesh_hook: Option<MeshHook>,
    /// What is logged: error, warn, info, debug, trace, or overlayd=debug and so on [default: info].
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Settings {
    /// The file's configuration with the flags on top.
    fn config(self) -> anyhow::Result<Config> {
        let config = match self.config.as_deref() {
            Some(file) => read(file)?,
            None if Path::new(DEFAULT_CONFIG).exists() => read(Path::new(DEFAULT_CONFIG))?,
            None => Config::default(),
        };
        let overrides = Overrides {
            hostname: self.hostname,
            state_dir: self.state_dir,
            socket: self.socket,
            bpf_dir: self.bpf_dir,
            data_port: self.data_port,
            gossip_port: self.gossip_port,
            api_port: self.api_port,
            mesh_hook: self.mesh_hook,
            log: self.log,
            ..Overrides::default()
        };
        Ok(overrides.apply(config)?)
    }
}

fn read(file: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Config::from_toml(&text).with_context(|| format!("in {}", file.display()))
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            overlayd::report::print(&error);
            ExitCode::FAILURE
        }
    }
}

/// The Raft library says several times a second that a manager is away, which the manager's role says once. It is heard where
/// the filter names it.
fn without_the_librarys(filter: &str) -> String {
    if filter.contains("openraft") { filter.to_owned() } else { format!("{filter},openraft=off") }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let config = cli.settings.config()?;
    let filter = EnvFilter::try_new(without_the_librarys(&config.log))
        .with_context(|| format!("{:?} is not a log filter like info or overlayd=debug", config.log))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();

    let runtime = || tokio::runtime::Runtime::new().context("cannot start the runtime");
    match cli.command {
        None => {
            if let Err(cause) = overlayd::agent::go_first() {
                tracing::warn!(%cause, "the agent may not go before what keeps this machine busy; hint: give it CAP_SYS_NICE");
            }
            runtime()?.block_on(overlayd::agent::run(config))
        }
        Some(Command::Cleanup) => runtime()?.block_on(overlayd::cleanup::run(&config)),
    }
}
