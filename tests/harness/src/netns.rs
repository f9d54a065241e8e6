//! Network namespaces, and how to act inside one.
//!
//! A namespace belongs to a thread (setns(2)), so everything that acts inside gets a thread of its own; a program
//! started from such a thread is in the namespace too.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::command::{self, ip};

/// A named network namespace. Copies mean the same one; the [`crate::Lab`] that made it removes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Netns {
    name: Arc<str>,
}

impl Netns {
    pub(crate) fn create(name: &str) -> Result<Self> {
        // The first `ip netns add` after a boot mounts /run/netns; two at once mount it twice and lose a namespace.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        ip(&format!("netns add {name}"))?;
        drop(turn);
        ip(&format!("-n {name} link set lo up"))?;
        Ok(Self { name: name.into() })
    }

    /// Its name, as `ip netns` and `overlayctl endpoint attach --netns` take it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&*self.name)
    }

    /// Runs a closure inside, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// The closure's own, or the namespace is gone.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a closure inside, on a thread of its own, and goes on.
    pub fn spawn<T: Send + 'static>(
        &self,
        inside: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let netns = self.clone();
        std::thread::spawn(move || {
            netns.enter()?;
            inside()
        })
    }

    /// Runs a program inside to its end, and hands back what it printed.
    ///
    /// # Errors
    /// It fails; then with everything that it printed.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        self.run(|| command::output(command)).with_context(|| format!("in {self}"))
    }

    /// Starts a program inside.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, command: &mut Command) -> Result<Child> {
        self.run(|| command.spawn().with_context(|| format!("cannot run {}", command::text(command))))
    }

    /// Runs one `ip` command inside, given as on the command line.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        ip(&format!("-n {self} {arguments}"))
    }

    /// Sets a kernel parameter inside, named as `sysctl` does.
    ///
    /// # Errors
    /// There is none of that name, or it takes no such value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| std::fs::write(&path, value).with_context(|| path.clone()))
    }

    /// The names of its interfaces, sorted.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let links: serde_json::Value = serde_json::from_str(&self.ip("-json link show")?)?;
        let links = links.as_array().ok_or_else(|| anyhow!("ip gave no list of links"))?;
        let mut names: Vec<_> =
            links.iter().filter_map(|link| link["ifname"].as_str().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes it, with every interface inside.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn delete(&self) -> Result<()> {
        ip(&format!("netns delete {self}")).map(drop)
    }

    fn enter(&self) -> Result<()> {
        let file = File::open(self.path()).with_context(|| format!("the namespace {self} is gone"))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter the namespace {self}"))
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
