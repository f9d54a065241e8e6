//! From answers to text. Nothing here asks the agent or prints.

mod flows;
mod lists;
mod services;
mod stats;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::io;

use overlay::api::{ClusterInitialized, ClusterJoined};
use serde::Serialize;

use crate::error::Error;

pub(crate) use flows::flows;
pub(crate) use lists::{endpoints, networks, nodes};
pub(crate) use services::{backends, services};
pub(crate) use stats::{rates, stats};
pub(crate) use status::status;

/// Indented JSON and a newline.
pub(crate) fn json(value: &impl Serialize) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

/// An error as the user reads it on stderr: the cause, then what to do.
pub(crate) fn error(error: &Error) -> String {
    if let Error::Some(errors) = error {
        return errors.iter().map(self::error).collect();
    }
    let hint = error.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
    format!("error: {error}\n{hint}")
}

pub(crate) fn cluster_initialized(cluster: &ClusterInitialized) -> String {
    let ClusterInitialized { node, join_token, manager } = cluster;
    // zsh takes bare brackets for a pattern.
    let quote = if manager.is_ipv6() { "'" } else { "" };
    format!(
        "Cluster initialized: this node ({node}) is its manager.\n\n\
         To add a node, run there:\n\n    overlayctl cluster join --token {join_token} {quote}{manager}{quote}\n"
    )
}

pub(crate) fn cluster_joined(cluster: &ClusterJoined) -> String {
    format!("This node ({}) joined the cluster.\n", cluster.node)
}
