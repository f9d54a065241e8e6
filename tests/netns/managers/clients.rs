//! Clients that make, change, look at and remove networks and services at managers' nodes, and write down what they are
//! told.

use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, bail};
use overlay_harness::Node;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::history::{Ask, History, Told};

/// How many questions are about a thing before another takes its place: few, so that checking their history takes no time.
const TURNS: u64 = 24;
/// How many things there are at a time.
const THINGS: u64 = 4;
/// The ports that services publish: fewer than there are services, so that they contend for them.
const PORTS: std::ops::Range<u16> = 20_000..20_002;
/// The label that carries the mark.
const MARK: &str = "mark";

/// What the clients share.
pub(super) struct Clients<'a> {
    nodes: &'a [&'a Node],
    history: Mutex<History>,
    turn: AtomicU64,
    stop: AtomicBool,
}

/// What a command came to.
enum Outcome {
    Told(Told),
    /// It was surely not carried out.
    Unheard,
    /// Nobody knows.
    Unknown,
}

impl<'a> Clients<'a> {
    pub(super) fn of(nodes: &'a [&'a Node]) -> Self {
        Self { nodes, history: Mutex::default(), turn: AtomicU64::new(0), stop: AtomicBool::new(false) }
    }

    /// Asks until it is told to stop, each time another node.
    pub(super) fn run(&self, seed: u64) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        while !self.stop.load(Ordering::Relaxed) {
            let node = self.nodes[random.random_range(0..self.nodes.len())];
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let number = turn / (TURNS * THINGS) * THINGS + turn % THINGS;
            let kind = if number.is_multiple_of(2) { "network" } else { "service" };
            let ask = match random.random_range(0..10) {
                0..3 => Ask::Create(turn),
                3..5 if kind == "service" => Ask::Mark(turn),
                5..7 => Ask::Remove,
                _ => Ask::Look,
            };
            self.ask(node, kind, &format!("{kind}-{number}"), ask)?;
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Looks at every thing once more, and hands back what happened.
    pub(super) fn finish(self, node: &Node) -> Result<History> {
        let last = self.turn.load(Ordering::Relaxed) / (TURNS * THINGS) * THINGS + THINGS;
        for number in 0..last {
            let kind = if number % 2 == 0 { "network" } else { "service" };
            self.ask(node, kind, &format!("{kind}-{number}"), Ask::Look)?;
        }
        Ok(self.history.into_inner().expect("no client panics while it holds this"))
    }

    fn ask(&self, node: &Node, kind: &str, name: &str, ask: Ask) -> Result<()> {
        let history = || self.history.lock().expect("no client panics while it holds this");
        let asked = history().ask(name, ask);
        let label = |mark: u64| format!("{MARK}={mark}");
        let output = match ask {
            Ask::Create(mark) if kind == "service" => {
                let port = format!("{}:80", PORTS.start + (mark % PORTS.len() as u64) as u16);
                let flags = ["--network", "base", "--publish", &port, "--label", &label(mark)];
                node.ctl_output(&[&[kind, "create", name][..], &flags].concat())
            }
            Ask::Create(mark) => node.ctl_output(&[kind, "create", name, "--label", &label(mark)]),
            Ask::Mark(mark) => node.ctl_output(&[kind, "update", name, "--label-add", &label(mark)]),
            Ask::Remove => node.ctl_output(&[kind, "rm", name]),
            Ask::Look => node.ctl_output(&[kind, "inspect", name]),
        }?;
        match outcome(&output, ask)? {
            Outcome::Told(told) => history().told(&asked, told),
            Outcome::Unheard => history().unheard(&asked),
            Outcome::Unknown => {}
        }
        Ok(())
    }
}

fn outcome(output: &Output, ask: Ask) -> Result<Outcome> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        if said.contains("this is what this node last knew") {
            // It may be old, and says so.
            return Ok(Outcome::Unheard);
        }
        return Ok(Outcome::Told(match ask {
            Ask::Look => Told::Marked(mark(&output.stdout)?),
            _ => Told::Done,
        }));
    }
    Ok(if said.contains("already") {
        Outcome::Told(Told::Exists)
    } else if said.contains("no network") || said.contains("no service") {
        Outcome::Told(Told::Absent)
    } else if said.contains("overlayd is not running") || said.contains("is published by") {
        Outcome::Unheard
    } else if ["managers", "overlayd", "leader", "seen here"].iter().any(|word| said.contains(word)) {
        if ask == Ask::Look { Outcome::Unheard } else { Outcome::Unknown }
    } else {
        bail!("{ask:?}: {said}")
    })
}

fn mark(inspected: &[u8]) -> Result<u64> {
    let value: Value = serde_json::from_slice(inspected)?;
    match value[0]["labels"][MARK].as_str() {
        Some(mark) => Ok(mark.parse()?),
        None => bail!("no mark in {value}"),
    }
}
