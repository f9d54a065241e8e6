//! `overlayctl node …`

use std::io::Write;

use overlay::api::{Changed, NodeRow, NodeUpdate};

use super::confirm;
use crate::args::{ListArgs, NodeUpdateArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn ls(client: &Client, list: ListArgs, out: &mut dyn Write) -> Result<(), Error> {
    let nodes: Vec<NodeRow> = client.get(&["nodes"])?;
    Ok(out.write_all(render::nodes(&nodes, list)?.as_bytes())?)
}

pub(super) fn update(
    client: &Client,
    args: &NodeUpdateArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let request = NodeUpdate { availability: args.availability };
    let changed: Changed = client.post(&["nodes", &args.node], &request)?;
    confirm::wait(client, changed, args.wait, progress)?;
    Ok(writeln!(out, "{}", args.node)?)
}
