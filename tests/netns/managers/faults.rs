//! What happens to managers: they are killed, paused, and cut off from one another, in one direction or in both. Only what
//! managers say to each other is cut, so the data path has to go on through all of it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use overlay::api::{ManagerState, NodeRow};
use overlay_harness::{Node, eventually};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::steps::SOON;

/// The manager API's port.
const API_PORT: u16 = 2377;
/// How long a fault lasts at most, in milliseconds: shorter than it takes to declare an agent dead, which would take its
/// endpoints from the others' tables.
const LONGEST: u64 = 2500;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and started again.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// Neither hears the others, nor is heard.
    Cut,
    /// It does not hear the others.
    Deaf,
    /// The others do not hear it.
    Mute,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [Self::Kill, Self::Pause, Self::Cut, Self::Deaf, Self::Mute];
}

/// Lets a fault happen to the leader, or to some manager, and ends it.
pub(super) fn happen(fault: Fault, managers: &[&Node], random: &mut StdRng) -> Result<()> {
    let leader = if random.random_bool(0.6) { leader(managers) } else { None };
    let victim = leader.or_else(|| managers.choose(random).copied()).context("no managers")?;
    let others: Vec<&Node> = managers.iter().copied().filter(|node| node.name() != victim.name()).collect();
    let lasts = Duration::from_millis(random.random_range(300..LONGEST));
    match fault {
        Fault::Kill => {
            victim.kill()?;
            return victim.start();
        }
        Fault::Pause => {
            victim.freeze(true)?;
            std::thread::sleep(lasts);
            return victim.freeze(false);
        }
        Fault::Cut | Fault::Deaf => ignore(victim, &others)?,
        Fault::Mute => {}
    }
    if matches!(fault, Fault::Cut | Fault::Mute) {
        others.iter().try_for_each(|other| ignore(other, &[victim]))?;
    }
    std::thread::sleep(lasts);
    managers.iter().try_for_each(|node| listen(node))
}

/// The leader, as any of the managers knows it.
pub(super) fn leader<'a>(managers: &[&'a Node]) -> Option<&'a Node> {
    managers.iter().find_map(|node| {
        let rows: Vec<NodeRow> = node.ctl_json(&["node", "ls"]).ok()?;
        let leader = rows.into_iter().find(|row| row.manager == Some(ManagerState::Leader))?;
        managers.iter().copied().find(|manager| manager.name() == leader.hostname)
    })
}

/// Has a node drop what the others say to it as managers.
pub(super) fn ignore(node: &Node, others: &[&Node]) -> Result<()> {
    let addrs: Vec<String> = others.iter().map(|other| other.addr().to_string()).collect();
    let from = format!("ip saddr {{ {} }} tcp", addrs.join(", "));
    nft(
        node,
        &format!(
            "table ip cut {{\nchain in {{\ntype filter hook input priority 0;\n\
             {from} dport {API_PORT} drop\n{from} sport {API_PORT} drop\n}}\n}}"
        ),
    )
}

/// Ends it.
pub(super) fn listen(node: &Node) -> Result<()> {
    // Making it first lets it be removed whether or not it was there.
    nft(node, "add table ip cut\ndelete table ip cut")
}

fn nft(node: &Node, rules: &str) -> Result<()> {
    node.netns().output(Command::new("nft").arg(rules)).map(drop)
}

/// Waits until all managers answer the leader.
pub(super) fn whole(managers: &[&Node]) -> Result<()> {
    eventually("all managers are there", SOON * 3, || {
        for node in managers {
            let rows: Vec<NodeRow> = node.ctl_json(&["node", "ls"])?;
            let states: Vec<_> = rows.iter().filter_map(|row| row.manager).collect();
            let leaders = states.iter().filter(|state| **state == ManagerState::Leader).count();
            let silent = states.iter().filter(|state| **state == ManagerState::Unreachable).count();
            anyhow::ensure!((leaders, silent, states.len()) == (1, 0, managers.len()), "{rows:?}");
        }
        Ok(())
    })
}
