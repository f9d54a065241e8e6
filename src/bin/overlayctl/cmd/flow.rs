//! `overlayctl flow …`

use std::io::Write;

use overlay::api::{FlowFlush, FlowList, FlowQuery, FlowsFlushed};

use crate::args::{FlowFlushArgs, FlowLsArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn ls(
    client: &Client,
    args: &FlowLsArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let request = FlowQuery {
        service: args.service.clone(),
        backend: args.backend.clone(),
        protocol: args.protocol,
        limit: args.limit,
    };
    let FlowList { flows, total } = client.post(&["flows"], &request)?;
    out.write_all(render::flows(&flows, args.format)?.as_bytes())?;
    if flows.len() < total {
        let shown = flows.len();
        writeln!(
            progress,
            "{shown} of {total} flows, those with the latest packets; --service and --protocol narrow it down, --limit shows more"
        )?;
    }
    Ok(())
}

pub(super) fn flush(client: &Client, args: &FlowFlushArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request = FlowFlush { all: args.all, service: args.service.clone(), backend: args.backend.clone() };
    let FlowsFlushed { flows } = client.post(&["flows", "flush"], &request)?;
    Ok(writeln!(out, "{flows}")?)
}
