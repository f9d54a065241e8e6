//! Strangers at a node's ports, and what its log has of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use overlay_harness::{Node, eventually};

use super::caller::Caller;
use crate::steps::{SOON, memory};

/// What idle connections may take of an agent's memory, in kB.
pub(super) const GROWTH_KB: u64 = 32 * 1024;
/// Lines of the log about them: of two kinds, once a minute each, in a test that takes a few on a busy machine.
const MOST_LINES: usize = 10;

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

/// Has that many idle connections be there while members do what they do: they take little of the node's memory and log. Returns
/// the memory that the node had before, in kB.
pub(super) fn crowd(
    caller: &Caller,
    connections: usize,
    node: &Node,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<u64> {
    allow_files(2 * connections as u64)?;
    let before = memory(node)?;
    let during = caller.crowd(connections, || {
        meanwhile()?;
        memory(node)
    })?;
    ensure!(during < before + GROWTH_KB, "{before} kB before, {during} kB with all of them");
    let told = about(node, caller.addr);
    ensure!(told.iter().any(|line| line.contains("kind=Crowd ")), "{told:#?}");
    ensure!(told.len() <= MOST_LINES, "the log is flooded: {told:#?}");
    Ok(before)
}

/// Lets this process have so many files open.
fn allow_files(wanted: u64) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.max(wanted);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted)?)
}
