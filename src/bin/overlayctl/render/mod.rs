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
use std::net::SocketAddr;

use overlay::api::{ClusterInitialized, ClusterJoined, ClusterLeft, JoinToken};
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
    format!(
        "Cluster initialized: this node ({node}) is its manager.\n\nTo add a worker, run there:\n\n    {}\n\n\
         To add a manager, run \"overlayctl cluster join-token manager\" here and follow what it prints.\n",
        join_command(join_token, *manager)
    )
}

pub(crate) fn join_token(token: &JoinToken) -> String {
    let JoinToken { role, token, manager } = token;
    format!("To add a {role}, run there:\n\n    {}\n", join_command(token, *manager))
}

fn join_command(token: &str, manager: SocketAddr) -> String {
    // zsh takes bare brackets for a pattern.
    let quote = if manager.is_ipv6() { "'" } else { "" };
    format!("overlayctl cluster join --token {token} {quote}{manager}{quote}")
}

pub(crate) fn cluster_joined(cluster: &ClusterJoined) -> String {
    format!("This node ({}) joined the cluster as a {}.\n", cluster.node, cluster.role)
}

pub(crate) fn cluster_left(left: &ClusterLeft) -> String {
    let mut text = format!("This node ({}) left its cluster.\n", left.node);
    if let Some(cause) = &left.still_listed {
        text += &format!(
            "The managers still list it, as it could not tell them: {cause}\n\
             Run \"overlayctl node rm {}\" on one.\n",
            left.node
        );
    }
    text
}
