//! `overlayctl service stats`

use std::io::Write;
use std::thread;
use std::time::Instant;

use overlay::api::Stats;

use crate::args::{ListFormat, StatsArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn stats(
    client: &Client,
    args: &StatsArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    if args.watch {
        return watch(client, args, out, progress);
    }
    let stats = ask(client, args, progress)?;
    let text = match args.format {
        ListFormat::Table => render::stats(&stats),
        ListFormat::Json => render::json(&stats.services)?,
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// Shows what is counted between two looks, until the user has seen enough.
fn watch(
    client: &Client,
    args: &StatsArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let mut before = (ask(client, args, progress)?, Instant::now());
    loop {
        thread::sleep(args.interval);
        let now = (ask(client, args, progress)?, Instant::now());
        let text = render::rates(&before.0, &now.0, now.1 - before.1);
        writeln!(out, "{text}")?;
        out.flush()?;
        before = now;
    }
}

fn ask(client: &Client, args: &StatsArgs, progress: &mut dyn Write) -> Result<Stats, Error> {
    let stats: Stats = match &args.service {
        Some(service) => client.get(&["stats", service])?,
        None => client.get(&["stats"])?,
    };
    for node in &stats.missing {
        let (hostname, cause) = (&node.hostname, &node.cause);
        writeln!(progress, "warning: what the node {hostname} counted is missing: {cause}")?;
    }
    for hostname in &stats.down {
        writeln!(progress, "warning: the node {hostname} is down and was not asked")?;
    }
    Ok(stats)
}
