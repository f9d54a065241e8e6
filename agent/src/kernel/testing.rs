//! Network namespaces for tests: each test has its own, so none sees the machine's interfaces or another test's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getpid, gettid};
use overlay::model::{NetnsId, NetnsRef};
use tokio::time::timeout;

/// Far more than any test takes.
const HANGS: Duration = Duration::from_secs(60);

/// Runs a test in a new namespace, which stands for the agent's: on a thread and in a runtime of its own.
pub(crate) fn in_own_netns<T: AsyncFnOnce() + Send + 'static>(test: T) {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests run as root");
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { timeout(HANGS, test()).await.expect("the test waits for what never comes") });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace that lives as long as this does. A thread holds it, so nothing is left behind.
pub(crate) struct Netns {
    reference: NetnsRef,
    hold: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Netns {
    pub(crate) fn new() -> Self {
        let (stop, stopped) = mpsc::channel();
        let (ready, reference) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests run as root");
            let path = format!("/proc/{}/task/{}/ns/net", getpid(), gettid());
            let metadata = fs::metadata(&path).unwrap();
            let id = NetnsId { dev: metadata.dev(), ino: metadata.ino() };
            ready.send(NetnsRef { path: path.into(), id }).unwrap();
            // It ends when the sender is dropped.
            stopped.recv().unwrap_err();
        });
        Self { reference: reference.recv().unwrap(), hold: Some((stop, thread)) }
    }

    pub(crate) fn reference(&self) -> NetnsRef {
        self.reference.clone()
    }

    /// Runs `ip` in it.
    pub(crate) async fn ip(&self, arguments: &'static str) -> String {
        super::netns::inside(&self.reference, move || Ok(ip(arguments))).await.unwrap()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.hold.take() {
            drop(stop);
            thread.join().unwrap();
            // A thread can be joined a moment before the kernel takes it out of /proc.
            while super::netns::leads_to(&self.reference) {
                thread::yield_now();
            }
        }
    }
}
