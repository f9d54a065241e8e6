//! Which endpoint a user means.

use std::collections::BTreeMap;

use super::{AttachError, endpoints};
use crate::facts::View;
use crate::intent::Intent;
use crate::model::{Attachment, Endpoint, EndpointId, NodeId, Service};

/// An endpoint and the node that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The node.
    pub owner: NodeId,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
}

/// The endpoint that `reference` names: its name, `network/name`, its id, or an unambiguous prefix of its id. A
/// name wins over a prefix of an id.
///
/// # Errors
/// [`AttachError::NoSuchEndpoint`]; [`AttachError::AmbiguousEndpoint`] for a name that endpoints in several
/// networks have, and for a prefix of several ids.
pub fn resolve_endpoint<'a>(
    reference: &str,
    me: NodeId,
    intent: &Intent,
    view: &'a View,
    attachments: &'a BTreeMap<EndpointId, Attachment>,
) -> Result<Found<'a>, AttachError> {
    let named = |endpoint: &Endpoint| match reference.split_once('/') {
        None => endpoint.name.as_str() == reference,
        Some((network, name)) => {
            endpoint.name.as_str() == name
                && intent.network(network).is_ok_and(|network| network.id == endpoint.network)
        }
    };
    let identified =
        |endpoint: &Endpoint| !reference.is_empty() && endpoint.id.to_string().starts_with(reference);
    let select = |chosen: &dyn Fn(&Endpoint) -> bool| -> Vec<Found<'a>> {
        endpoints(me, view, attachments)
            .filter(|(_, endpoint)| chosen(endpoint))
            .map(|(owner, endpoint)| Found { owner, endpoint })
            .collect()
    };
    let mut found = select(&named);
    if found.is_empty() {
        found = select(&identified);
    }
    match found.as_slice() {
        [only] => Ok(*only),
        [] => Err(AttachError::NoSuchEndpoint { reference: reference.to_owned() }),
        several => Err(AttachError::AmbiguousEndpoint {
            reference: reference.to_owned(),
            candidates: several.iter().map(|found| full_name(intent, found.endpoint)).collect(),
        }),
    }
}

/// The backend that `reference` names, and its service: `service.endpoint`, the endpoint by its name or by an
/// unambiguous prefix of its id. Both names may have dots.
///
/// # Errors
/// [`AttachError::NoSuchBackend`]; [`AttachError::AmbiguousEndpoint`] where several have that name.
pub fn resolve_backend<'a>(
    reference: &str,
    me: NodeId,
    intent: &'a Intent,
    view: &'a View,
    attachments: &'a BTreeMap<EndpointId, Attachment>,
) -> Result<(&'a Service, Found<'a>), AttachError> {
    let splits: Vec<(&Service, &str)> = reference
        .match_indices('.')
        .filter_map(|(dot, _)| Some((intent.service(&reference[..dot]).ok()?, &reference[dot + 1..])))
        .collect();
    let select = |chosen: &dyn Fn(&Endpoint, &str) -> bool| -> Vec<(&'a Service, Found<'a>)> {
        let mut found = Vec::new();
        for (owner, endpoint) in endpoints(me, view, attachments) {
            let of = |(service, name): &&(&'a Service, &str)| {
                service.is_backend(endpoint) && chosen(endpoint, name)
            };
            found.extend(splits.iter().find(of).map(|(service, _)| (*service, Found { owner, endpoint })));
        }
        found
    };
    let mut found = select(&|endpoint, name| endpoint.name.as_str() == name);
    if found.is_empty() {
        found = select(&|endpoint, name| !name.is_empty() && endpoint.id.to_string().starts_with(name));
    }
    match found.as_slice() {
        [only] => Ok(*only),
        [] => Err(AttachError::NoSuchBackend { reference: reference.to_owned() }),
        several => Err(AttachError::AmbiguousEndpoint {
            reference: reference.to_owned(),
            candidates: several.iter().map(|(_, found)| full_name(intent, found.endpoint)).collect(),
        }),
    }
}

fn full_name(intent: &Intent, endpoint: &Endpoint) -> String {
    let Endpoint { id, network, name, .. } = endpoint;
    match intent.networks.get(network) {
        Some(network) => format!("{}/{name} ({})", network.name, id.short()),
        None => format!("{name} ({})", id.short()),
    }
}
