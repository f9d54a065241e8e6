//! Network namespaces, and the private bpffs that a test's pins are on.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tempfile::TempDir;

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within 5 s");
        std::thread::yield_now();
    }
}

/// A network namespace without a name; it ends with this value and what runs in it.
pub(crate) struct Netns(File);

fn current() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

impl Netns {
    /// A new one, with its loopback device up.
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make namespaces and load BPF programs: run them as root"
        );
        let home = current();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let netns = Self(current());
        setns(&home, CloneFlags::CLONE_NEWNET).unwrap();
        netns.ip("link set lo up");
        netns
    }

    /// Runs `work` inside. Threads and processes that it starts stay inside.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let home = current();
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
        let result = work();
        setns(&home, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }

    /// Runs a command line inside, and gives its output; it has to succeed.
    pub(crate) fn run(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let output = self.enter(|| Command::new(words.next().unwrap()).args(words).output().unwrap());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &str) {
        self.run(&format!("ip {arguments}"));
    }

    /// Where another process finds it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// A device's index.
    pub(crate) fn ifindex(&self, name: &str) -> u32 {
        self.enter(|| nix::net::if_::if_nametoindex(name).unwrap())
    }

    /// One of a device's counters.
    pub(crate) fn counter(&self, device: &str, name: &str) -> u64 {
        // sysfs shows the namespace of whoever mounted it, so ask `ip`.
        let json = self.run(&format!("ip -s -j link show dev {device}"));
        let side = if name.starts_with("tx_") { "\"tx\":{" } else { "\"rx\":{" };
        let (_, counters) = json.split_once(side).unwrap();
        let (_, value) = counters.split_once(&format!("\"{}\":", &name[3..])).unwrap();
        value.split([',', '}']).next().unwrap().parse().unwrap()
    }
}

/// A directory on a bpffs that only this thread sees.
pub(crate) struct Bpffs(TempDir);

impl Bpffs {
    pub(crate) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let bpffs = Self(TempDir::new().unwrap());
        overlayd::kernel::bpf::ensure_bpffs(&bpffs.dir()).unwrap();
        bpffs
    }

    /// The directory for the pins.
    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("bpf").join("overlay")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // The namespace outlives the directory; nothing of worth is lost when this fails.
        let _ = umount2(&self.0.path().join("bpf"), MntFlags::MNT_DETACH);
    }
}
