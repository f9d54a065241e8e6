//! What a command takes with three managers, real agents on real disks: from a request at the local API of one of them to its
//! answer, by when most managers have synced the command to the disk, and the manager that was asked has it in effect itself.
//! With hardly any intent, and with that of a large cluster, which a node then joins.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology};

use crate::agent::milliseconds;
use crate::report::{percentile, progress};

/// Commands at each of two managers; every other one removes what the one before has created.
const COMMANDS: usize = 500;
/// A large cluster's.
const NETWORKS: usize = 1_000;
const SERVICES: usize = 5_000;
/// Requests at once that make it.
const AT_ONCE: usize = 16;

pub(crate) fn print() -> Result<()> {
    let lab = Lab::new(Topology::of(4).unrecorded())?;
    progress("forming a cluster of three managers");
    let [leader, other, third, joiner] = lab.nodes::<4>();
    lab.form_managers_of(&[leader, other, third])?;
    println!("\n{:<56}{:>8}{:>8}", format!("{COMMANDS} commands, three managers, ms"), "p50", "p99");
    time("hardly any intent", leader, other)?;
    let large = format!("{NETWORKS} networks, {SERVICES} services");
    let started = Instant::now();
    fill(leader, NETWORKS, |number| ("POST /v1/networks", format!(r#"{{"name":"net{number}"}}"#)))?;
    fill(leader, SERVICES, |number| {
        let network = number % NETWORKS;
        ("POST /v1/services", format!(r#"{{"name":"service{number}","networks":["net{network}"]}}"#))
    })?;
    let made = milliseconds(started) / 1_000.0;
    time(&large, leader, other)?;
    println!("{:<56}{made:>8.1}", format!("making them, {AT_ONCE} at a time, s"));

    progress("a node joins");
    joiner.start()?;
    let token = leader.ctl(&["cluster", "join-token", "-q", "worker"])?;
    let started = Instant::now();
    joiner.join_cluster(token.trim(), other)?;
    joiner.wait_ready(FORMING)?;
    let ready = milliseconds(started);
    progress("");
    println!("{:<56}{ready:>8.0}", "a node that joins then is ready after, ms");
    Ok(())
}

fn time(intent: &str, leader: &Node, other: &Node) -> Result<()> {
    for (asked, at) in [("at the leader", leader), ("at another manager", other)] {
        let row = format!("{intent}, {asked}");
        progress(&row);
        let took = commands(at)?;
        progress("");
        println!("{row:<56}{:>8.1}{:>8.1}", percentile(&took, 50), percentile(&took, 99));
    }
    Ok(())
}

/// Makes many things, some at a time.
fn fill(at: &Node, count: usize, request: impl Fn(usize) -> (&'static str, String) + Sync) -> Result<()> {
    thread::scope(|scope| {
        let request = &request;
        let worker = |first: usize| {
            scope.spawn(move || {
                (first..count).step_by(AT_ONCE).try_for_each(|number| {
                    let (head, body) = request(number);
                    if number % 100 == 0 {
                        progress(&format!("{head}: {number} of {count}"));
                    }
                    ask(at, head, &body)
                })
            })
        };
        let workers: Vec<_> = (0..AT_ONCE).map(worker).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Milliseconds, of each.
fn commands(at: &Node) -> Result<Vec<f64>> {
    (0..COMMANDS)
        .map(|number| {
            let started = Instant::now();
            match number % 2 {
                0 => ask(at, "POST /v1/networks", r#"{"name":"bench"}"#)?,
                _ => ask(at, "DELETE /v1/networks/bench", "")?,
            }
            Ok(milliseconds(started))
        })
        .collect()
}

fn ask(at: &Node, request: &str, body: &str) -> Result<()> {
    let mut stream = UnixStream::connect(at.socket())?;
    let head = "HTTP/1.0\r\nHost: overlayd\r\nConnection: close\r\nContent-Type: application/json";
    write!(stream, "{request} {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{request}: {answer}");
    Ok(())
}
