//! The listings of services and their backends.

use std::io;

use overlay::api::{BackendRow, BackendState, ServiceRow};
use overlay::model::{Publish, PublishMode};

use super::lists::listing;
use crate::args::ListArgs;

/// `service ls`.
pub(crate) fn services(services: &[ServiceRow], list: ListArgs) -> io::Result<String> {
    let titles = ["ID", "NAME", "MODE", "BACKENDS", "PORTS"];
    listing(
        services,
        list,
        titles,
        |row| row.service.id.to_string(),
        |row, id| {
            let ports: Vec<String> = row.service.publish.iter().map(ports).collect();
            [
                id,
                row.service.name.to_string(),
                row.service.endpoint_mode.to_string(),
                format!("{}/{}", row.backends_active, row.backends),
                ports.join(", "),
            ]
        },
    )
}

/// `service ps`.
pub(crate) fn backends(backends: &[BackendRow], list: ListArgs) -> io::Result<String> {
    let titles = ["ENDPOINT ID", "NAME", "NODE", "NETWORK", "ADDRESSES", "WEIGHT", "STATE"];
    listing(
        backends,
        list,
        titles,
        |row| row.id.to_string(),
        |row, id| {
            let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
            let state = match row.state {
                BackendState::Active => "Active",
                BackendState::Draining => "Draining",
                BackendState::Drained => "Drained",
                BackendState::NodeDraining => "Node draining",
                BackendState::NodeDrained => "Node drained",
            };
            [
                id,
                row.name.to_string(),
                row.hostname.clone(),
                row.network_name.to_string(),
                addresses.join(", "),
                row.weight.to_string(),
                state.to_owned(),
            ]
        },
    )
}

/// As Docker writes it; a port in the host mode is not open on every node.
fn ports(publish: &Publish) -> String {
    let place = match publish.mode() {
        PublishMode::Ingress => "*",
        PublishMode::Host => "host",
    };
    format!("{place}:{}->{}/{}", publish.published(), publish.targets(), publish.protocol())
}
