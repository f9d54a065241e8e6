//! Who the backends are.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::View;
use crate::intent::{Intent, Serving};
use crate::lb::{Generation, ServiceSlot};
use crate::model::{Attachment, Endpoint, EndpointId, Name, Service, ServiceId};
use crate::reconcile::desired::tables::{peers, vteps};
use crate::reconcile::desired::{Found, Host};
use crate::reconcile::tables::{BackendEntry, Place};

/// The backends of each service.
pub(super) type Backends = BTreeMap<ServiceId, BTreeMap<EndpointId, BackendEntry>>;

/// The services whose backends are wanted, with their slots.
pub(super) type Wanted<'a> = BTreeMap<ServiceId, (ServiceSlot, &'a Service)>;

/// The backends that are known and have flows: those here that have a device, and those of the peers.
pub(super) fn known(
    wanted: &Wanted<'_>,
    host: &Host<'_>,
    intent: &Intent,
    view: &View,
    attachments: &BTreeMap<EndpointId, Attachment>,
    found: Found<'_>,
) -> Backends {
    let by_name: BTreeMap<&Name, (ServiceSlot, &Service)> =
        wanted.values().map(|(slot, service)| (&service.name, (*slot, *service))).collect();
    let mut backends = Backends::new();
    let mut add = |node, endpoint: &Endpoint, place| {
        let Some(membership) = &endpoint.service else { return };
        let Some((slot, service)) = by_name.get(&membership.service) else { return };
        let Some(network) = intent.networks.get(&endpoint.network) else { return };
        if !service.is_backend(endpoint) {
            return;
        }
        let serving = intent.serving(service, endpoint.id, Some(node), found.now);
        if serving == Serving::Nothing {
            return;
        }
        let entry = BackendEntry {
            service: *slot,
            endpoint: endpoint.id,
            generation: Generation::of(service.id, endpoint.id),
            vni: network.vni,
            mac: endpoint.mac,
            ip4: endpoint.ip4,
            ip6: endpoint.ip6,
            place,
            weight: membership.weight,
            accepts: serving == Serving::All,
        };
        backends.entry(service.id).or_default().entry(endpoint.id).or_insert(entry);
    };
    for attachment in attachments.values() {
        if let Some(ifindex) = found.ifindexes.get(&attachment.host_ifname(&host.config.veth_prefix)) {
            add(host.me, &attachment.endpoint, Place::Local { ifindex: *ifindex });
        }
    }
    let peers = peers(host, view);
    let vteps = vteps(host, view, &peers);
    for (owner, endpoint) in view.endpoints() {
        if let Some(peer) = peers.get(&owner)
            && let Some(entry) = vteps.get(&peer.vtep)
        {
            add(owner, endpoint, Place::Remote { vtep: peer.vtep, mtu: entry.mtu });
        }
    }
    backends
}

/// Adds the backends elsewhere that are found in the tables and of which nothing is known. Users may have removed or drained
/// them since.
pub(super) fn keep(
    backends: &mut Backends,
    wanted: &Wanted<'_>,
    intent: &Intent,
    view: &View,
    found: Found<'_>,
) {
    let observed = found.tables;
    let known: BTreeSet<EndpointId> = view.endpoints().map(|(_, endpoint)| endpoint.id).collect();
    for entry in observed.backends.values().filter(|entry| !known.contains(&entry.endpoint)) {
        let service = observed.services.get(&entry.service).and_then(|held| wanted.get(&held.service));
        let (Some((slot, service)), Place::Remote { .. }) = (service, entry.place) else { continue };
        let mut networks = service.networks.iter().filter_map(|id| intent.networks.get(id));
        if networks.any(|network| network.vni == entry.vni) {
            let serving = intent.serving(service, entry.endpoint, None, found.now);
            if serving == Serving::Nothing {
                continue;
            }
            let accepts = entry.accepts && serving == Serving::All;
            let kept = BackendEntry { service: *slot, accepts, ..*entry };
            backends.entry(service.id).or_default().entry(entry.endpoint).or_insert(kept);
        }
    }
}
