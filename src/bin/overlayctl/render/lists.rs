//! The listings.

use std::io;

use overlay::api::{EndpointRow, ManagerState, NodeRow, NodeStatus};
use overlay::model::{Availability, Network};
use serde::Serialize;

use super::json;
use super::table::table;
use crate::args::{ListArgs, ListFormat};

/// `node ls`.
pub(crate) fn nodes(nodes: &[NodeRow], list: ListArgs) -> io::Result<String> {
    let titles = ["ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "VERSION"];
    listing(
        nodes,
        list,
        titles,
        |node| node.id.to_string(),
        |node, id| {
            let mark = if node.this { " *" } else { "" };
            let status = match node.status {
                NodeStatus::Ready => "Ready",
                NodeStatus::Restarting => "Restarting",
                NodeStatus::Down => "Down",
            };
            let manager = match node.manager {
                Some(ManagerState::Leader) => "Leader",
                Some(ManagerState::Reachable) => "Reachable",
                Some(ManagerState::Unreachable) => "Unreachable",
                None => "",
            };
            [
                format!("{id}{mark}"),
                node.hostname.clone(),
                status.to_owned(),
                availability(node.availability).to_owned(),
                manager.to_owned(),
                node.version.clone(),
            ]
        },
    )
}

/// As Docker writes it.
const fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "Active",
        Availability::Pause => "Pause",
        Availability::Drain => "Drain",
    }
}

/// `network ls`.
pub(crate) fn networks(networks: &[Network], list: ListArgs) -> io::Result<String> {
    let titles = ["NETWORK ID", "NAME", "DRIVER", "SCOPE"];
    listing(
        networks,
        list,
        titles,
        |network| network.id.to_string(),
        |network, id| [id, network.name.to_string(), "overlay".to_owned(), "cluster".to_owned()],
    )
}

/// `endpoint ls`.
pub(crate) fn endpoints(rows: &[EndpointRow], list: ListArgs) -> io::Result<String> {
    let titles = ["ENDPOINT ID", "NAME", "NETWORK", "NODE", "MAC ADDRESS", "ADDRESSES"];
    listing(
        rows,
        list,
        titles,
        |row| row.endpoint.id.to_string(),
        |row, id| {
            let addresses: Vec<_> = row.endpoint.addresses().map(|address| address.to_string()).collect();
            [
                id,
                row.endpoint.name.to_string(),
                row.network_name.to_string(),
                row.hostname.clone(),
                row.endpoint.mac.to_string(),
                addresses.join(", "),
            ]
        },
    )
}

pub(super) fn listing<T: Serialize, const N: usize>(
    rows: &[T],
    list: ListArgs,
    titles: [&str; N],
    id: impl Fn(&T) -> String,
    cells: impl Fn(&T, String) -> [String; N],
) -> io::Result<String> {
    let shown_id = |row: &T| {
        let mut id = id(row);
        if !list.no_trunc {
            id.truncate(SHORT_ID);
        }
        id
    };
    if list.quiet {
        return Ok(rows.iter().map(|row| shown_id(row) + "\n").collect());
    }
    match list.format {
        ListFormat::Json => json(&rows),
        ListFormat::Table => Ok(table(titles, rows.iter().map(|row| cells(row, shown_id(row))))),
    }
}

/// As many digits of an id as [`overlay::model::NetworkId::short`] leaves.
const SHORT_ID: usize = 12;
