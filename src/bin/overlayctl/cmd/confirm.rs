//! `--wait` of changes that every node is to put into effect.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use overlay::api::{Changed, Confirm, Confirmed};
use overlay::model::Seconds;

use crate::args::WaitArgs;
use crate::client::Client;
use crate::error::Error;

/// How long the agent is asked to wait at a time; in between, what it waits for is told.
const STEP: Seconds = Seconds(1);
/// The least time between two questions, should the agent not wait at all.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits, if that was asked for, until every node alive has put the change into effect. A node that was missing once
/// is missed to the end: one that falls silent is soon taken for dead, but its data path goes on without the change.
pub(super) fn wait(
    client: &Client,
    change: Changed,
    args: WaitArgs,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    if !args.wait {
        return Ok(());
    }
    let start = Instant::now();
    let mut told = Vec::new();
    let mut missed: Vec<String> = Vec::new();
    loop {
        let request = Confirm { version: change.version, wait: STEP };
        let answer: Confirmed = client.post(&["confirm"], &request)?;
        missed.retain(|hostname| !answer.confirmed.contains(hostname));
        let fell_silent = answer.down.iter().filter(|hostname| missed.contains(hostname));
        let missing: Vec<String> = answer
            .missing
            .iter()
            .map(|node| format!("{} ({})", node.hostname, node.cause))
            .chain(fell_silent.map(|hostname| format!("{hostname} (it went down meanwhile)")))
            .collect();
        if missing.is_empty() {
            for hostname in &answer.down {
                writeln!(progress, "warning: the node {hostname} is down and was not asked")?;
            }
            return Ok(());
        }
        if start.elapsed() >= args.timeout {
            return Err(Error::Unconfirmed { waited: args.timeout, missing });
        }
        missed.extend(answer.missing.into_iter().map(|node| node.hostname));
        if missing != told {
            writeln!(progress, "waiting for {}", missing.join("; "))?;
            told = missing;
        }
        thread::sleep(PAUSE.min(args.timeout.saturating_sub(start.elapsed())));
    }
}
