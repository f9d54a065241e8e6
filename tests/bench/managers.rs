//! What a command takes with three managers, real agents on real disks: from a request at the local API of one of them to its
//! answer, by when most managers have synced the command to the disk, and the manager that was asked has it in effect itself.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Result, ensure};
use overlay_harness::{Lab, Node, Topology};

use crate::agent::milliseconds;
use crate::report::{percentile, progress};

/// Commands at each of two managers; every other one removes what the one before has created.
const COMMANDS: usize = 500;

pub(crate) fn print() -> Result<()> {
    let lab = Lab::new(Topology::of(3).unrecorded())?;
    progress("forming a cluster of three managers");
    lab.form_managers()?;
    let [leader, other, _] = lab.nodes::<3>();
    println!("\n{:<56}{:>8}{:>8}", format!("{COMMANDS} commands, three managers, ms"), "p50", "p99");
    for (asked, at) in [("asked at the leader", leader), ("asked at another manager", other)] {
        progress(asked);
        let took = commands(at)?;
        progress("");
        println!("{asked:<56}{:>8.1}{:>8.1}", percentile(&took, 50), percentile(&took, 99));
    }
    Ok(())
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
