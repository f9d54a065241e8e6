//! Strangers at a node's ports, and what its log has of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use overlay_harness::{Node, eventually};

use super::caller::Caller;
use crate::steps::SOON;

/// Somebody at an address of its own, so that each attack has a line of its own in the log.
pub(super) fn stranger(node: &Node, target: SocketAddr) -> Result<Caller> {
    static LAST: AtomicU8 = AtomicU8::new(100);
    let last = LAST.fetch_add(1, Ordering::Relaxed);
    Caller::at(node, IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)), target)
}

/// What a node's log has about that address.
pub(super) fn about(node: &Node, addr: IpAddr) -> Vec<String> {
    let about = format!("from={addr} ");
    node.log().lines().filter(|line| line.contains(&about)).map(str::to_owned).collect()
}

/// Waits until a node's log has a line about that address, of that kind; it must be the only one.
pub(super) fn told_once(node: &Node, addr: IpAddr, kind: &str) -> Result<()> {
    eventually(&format!("{kind} is told"), SOON, || {
        let lines = about(node, addr);
        let [line] = &lines[..] else { bail!("of {addr}: {lines:#?}") };
        ensure!(line.contains(&format!("kind={kind} ")), "{line}");
        Ok(())
    })
}

/// Lets this process have so many files open.
pub(super) fn allow_files(wanted: u64) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.max(wanted);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted)?)
}
