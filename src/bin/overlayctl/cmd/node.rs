//! `overlayctl node …`

use std::io::Write;

use overlay::api::{Changed, NodeDetail, NodeRemove, NodeRole, NodeRow, NodeUpdate};
use overlay::model::Role;

use super::{confirm, each};
use crate::args::{ListArgs, NodeRmArgs, NodeUpdateArgs, NodesArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn ls(client: &Client, list: ListArgs, out: &mut dyn Write) -> Result<(), Error> {
    let nodes: Vec<NodeRow> = client.get(&["nodes"])?;
    Ok(out.write_all(render::nodes(&nodes, list)?.as_bytes())?)
}

pub(super) fn inspect(client: &Client, args: &NodesArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (nodes, outcome) = each(&args.nodes, |node| client.get::<NodeDetail>(&["nodes", node]));
    out.write_all(render::json(&nodes)?.as_bytes())?;
    outcome
}

pub(super) fn update(
    client: &Client,
    args: &NodeUpdateArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let request = NodeUpdate {
        availability: args.change.availability,
        labels_rm: args.change.label_rm.clone(),
        labels_add: args.change.label_add.iter().cloned().collect(),
    };
    let changed: Changed = client.post(&["nodes", &args.node], &request)?;
    confirm::wait(client, changed, args.wait, progress)?;
    Ok(writeln!(out, "{}", args.node)?)
}

/// Makes nodes managers, or workers again.
pub(super) fn set_role(
    client: &Client,
    args: &NodesArgs,
    role: Role,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let (_, outcome) = each(&args.nodes, |node| {
        let _: Changed = client.post(&["nodes", node, "role"], &NodeRole { role })?;
        Ok(writeln!(out, "{node} is a {role} now")?)
    });
    outcome
}

pub(super) fn rm(client: &Client, args: &NodeRmArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request = NodeRemove { force: args.force };
    let (_, outcome) = each(&args.nodes.nodes, |node| {
        let _: NodeRow = client.delete_with(&["nodes", node], &request)?;
        Ok(writeln!(out, "{node}")?)
    });
    outcome
}
