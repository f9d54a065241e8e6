//! A node's flows, as its data path keeps them: whose they are, and which of them are meant.
//!
//! A connection has a flow for each direction that a program looks at, on each node where one does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Idle;
use crate::lb::{BackendSlot, Generation, ServiceSlot};
use crate::model::{EndpointId, ServiceId, Vni};
use crate::reconcile::tables::BackendEntry;

/// A flow's packets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowEntry {
    /// For how long no packet of it was seen.
    pub idle: Duration,
    /// What it is kept for.
    pub scope: FlowScope,
    /// What carries it.
    pub protocol: FlowProtocol,
    /// The network that its packets are in.
    pub vni: Option<Vni>,
    /// Where its packets come from, at the program that keeps it. The port of a ping is its identifier.
    pub from: SocketAddr,
    /// Where they go to.
    pub to: SocketAddr,
    /// What takes the place of one of both.
    pub translated: Option<SocketAddr>,
    /// The backend that was chosen for it, where one is kept.
    pub backend: Option<(BackendSlot, Generation)>,
    /// How far it is.
    pub state: FlowState,
}

/// What a flow is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowScope {
    /// A client outside asks for a published port of this node.
    Mesh,
    /// A backend here answers a client outside.
    Return,
    /// An endpoint here asks for a virtual address.
    Vip,
    /// A backend answers an endpoint here, which asked for a virtual address.
    VipReturn,
    /// An endpoint here asks the world outside.
    Egress,
    /// The world outside answers an endpoint here.
    EgressReturn,
    /// A backend answers this node, which asked in a client's place.
    SnatReturn,
    /// The first fragment of a datagram came; the ports are the datagram's identification.
    Fragment,
}

/// What carries a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Pings, of both families.
    Icmp,
}

/// How far a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowState {
    /// TCP: opened, nothing more seen yet.
    Syn,
    /// TCP: going on.
    Established,
    /// TCP: an end has closed it.
    Fin,
    /// TCP: broken off.
    Rst,
    /// All else: one packet was seen.
    New,
    /// All else: several were.
    Stream,
}

impl FlowEntry {
    /// Whether it still counts for the programs; else it is only memory to be used again.
    pub fn is_live(&self, idle: &Idle) -> bool {
        let limit = match self.state {
            FlowState::Syn => idle.tcp_syn,
            FlowState::Established => idle.tcp_established,
            FlowState::Fin => idle.tcp_fin,
            FlowState::Rst => idle.tcp_rst,
            FlowState::New => idle.udp,
            FlowState::Stream => idle.udp_stream,
        };
        self.idle < Duration::from_secs(limit.into())
    }
}

/// The backends that flows lead to.
#[derive(Debug, Clone, Default)]
pub struct Backends {
    by_slot: BTreeMap<BackendSlot, (Generation, Backend)>,
    by_address: BTreeMap<(Vni, IpAddr), Backend>,
}

/// An endpoint in a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    /// The service.
    pub service: ServiceId,
    /// The endpoint.
    pub endpoint: EndpointId,
}

/// Whose a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// No service's.
    Nobody,
    /// That of a backend.
    Backend(Backend),
    /// That of a backend that is gone.
    Gone,
}

impl Backends {
    /// As the data path's tables have them.
    pub fn new(
        services: &BTreeMap<ServiceSlot, ServiceId>,
        entries: &BTreeMap<BackendSlot, BackendEntry>,
    ) -> Self {
        let mut backends = Self::default();
        for (slot, entry) in entries {
            let Some(service) = services.get(&entry.service) else { continue };
            let backend = Backend { service: *service, endpoint: entry.endpoint };
            backends.by_slot.insert(*slot, (entry.generation, backend));
            let addresses = entry.ip4.map(IpAddr::from).into_iter().chain(entry.ip6.map(IpAddr::from));
            backends.by_address.extend(addresses.map(|address| ((entry.vni, address), backend)));
        }
        backends
    }

    /// Whose a flow is. Answers keep no backend: it is where they come from.
    pub fn owner(&self, flow: &FlowEntry) -> Owner {
        let found = match (flow.backend, flow.scope, flow.vni) {
            (Some((slot, generation)), ..) => {
                self.by_slot.get(&slot).filter(|(now, _)| *now == generation).map(|(_, backend)| backend)
            }
            (None, FlowScope::Return | FlowScope::VipReturn, Some(vni)) => {
                self.by_address.get(&(vni, flow.from.ip()))
            }
            _ => return Owner::Nobody,
        };
        found.map_or(Owner::Gone, |backend| Owner::Backend(*backend))
    }
}

/// Which flows are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this service only.
    pub service: Option<ServiceId>,
    /// Of this backend only.
    pub backend: Option<EndpointId>,
    /// Of this protocol only.
    pub protocol: Option<FlowProtocol>,
}

impl Selection {
    /// Whether a flow is one of them.
    pub fn has(&self, flow: &FlowEntry, owner: Owner) -> bool {
        let of = |wanted: &dyn Fn(Backend) -> bool| matches!(owner, Owner::Backend(it) if wanted(it));
        self.protocol.is_none_or(|protocol| flow.protocol == protocol)
            && self.service.is_none_or(|service| of(&|it| it.service == service))
            && self.backend.is_none_or(|endpoint| of(&|it| it.endpoint == endpoint))
    }
}

/// The flows that had a packet last, at most so many.
#[derive(Debug)]
pub struct Recent {
    limit: usize,
    total: usize,
    kept: BTreeSet<FlowEntry>,
}

impl Recent {
    /// None yet, and never more than `limit`.
    pub const fn new(limit: usize) -> Self {
        Self { limit, total: 0, kept: BTreeSet::new() }
    }

    /// Takes one more.
    pub fn add(&mut self, flow: FlowEntry) {
        self.total += 1;
        self.kept.insert(flow);
        if self.kept.len() > self.limit {
            self.kept.pop_last();
        }
    }

    /// How many it was given.
    pub const fn total(&self) -> usize {
        self.total
    }

    /// Those that it has kept, the latest packet first.
    pub fn flows(&self) -> impl Iterator<Item = &FlowEntry> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests;
