//! `overlayctl status`

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use overlay::api::Status;

use crate::args::{StatusArgs, StatusFormat};
use crate::client::Client;
use crate::error::Error;
use crate::render;

/// How often `--wait` asks.
const POLL: Duration = Duration::from_millis(200);

pub(super) fn status(
    client: &Client,
    args: &StatusArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let status =
        if args.wait { wait(client, args.timeout, progress)? } else { client.get::<Status>(&["status"])? };
    let text = match args.format {
        StatusFormat::Text => render::status(&status),
        StatusFormat::Json => render::json(&status)?,
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// Asks until the node is ready, and tells each time that what it waits for changes. An agent that does not
/// answer yet is waited for as well.
fn wait(client: &Client, timeout: Duration, progress: &mut dyn Write) -> Result<Status, Error> {
    let start = Instant::now();
    let mut told = Vec::new();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        let missing = match client.patience(left).get::<Status>(&["status"]) {
            Ok(status) if status.ready => return Ok(status),
            Ok(status) if status.waiting_for.is_empty() => vec!["the node to be ready".to_owned()],
            Ok(status) => status.waiting_for,
            Err(error) if error.is_passing() => vec![format!("overlayd to answer ({error})")],
            Err(error) => return Err(error),
        };
        if start.elapsed() >= timeout {
            return Err(Error::NotReady { waited: timeout, missing });
        }
        if missing != told {
            writeln!(progress, "waiting for {}", missing.join("; "))?;
            told = missing;
        }
        thread::sleep(POLL.min(timeout.saturating_sub(start.elapsed())));
    }
}
