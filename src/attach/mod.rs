//! Attaching an endpoint, decided: every check of `endpoint attach`, and the choice of what the user left out.
//! Nothing is made here; the agent remembers the [`Attachment`] first, and the reconciler makes its devices.

mod error;
mod release;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::api;
use crate::facts::View;
use crate::intent::{GrantBlock, Grants, Intent, IntentError};
use crate::model::{
    Attachment, Availability, Endpoint, EndpointId, MacAddr, Membership, Name, NetnsRef, Network, NetworkId,
    Node, NodeId, Subnet, check_ifname,
};

pub use error::AttachError;
pub use release::{Release, forget_drain};
pub use resolve::{Found, resolve_backend, resolve_endpoint};

/// What this node knows when it is asked to attach.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// This node.
    pub me: NodeId,
    /// What users asked for.
    pub intent: &'a Intent,
    /// The facts of the nodes that are alive. What it says of this node does not count: `attachments` does.
    pub view: &'a View,
    /// This node's own endpoints.
    pub attachments: &'a BTreeMap<EndpointId, Attachment>,
    /// The interfaces inside the namespace.
    pub ifnames_taken: &'a BTreeSet<String>,
    /// The addresses that are on their way back to the managers, as in [`Release::pending`].
    pub released: &'a BTreeSet<(NetworkId, IpAddr)>,
}

/// Random bits, drawn by the caller for one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    /// The endpoint's id. Where the search for a free address starts comes from these too.
    pub id: [u8; 16],
    /// The MAC address, unless the user gave one.
    pub mac: [u8; 6],
}

/// What the decision is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Attach it so.
    Ready(Attachment),
    /// First have a manager grant these addresses, then plan again with the intent that has the grant.
    NeedsBlock(GrantBlock),
}

/// Decides how to attach the namespace `netns`, which `request` names.
///
/// # Errors
/// What forbids it. Nothing has changed.
pub fn plan(
    request: &api::EndpointAttach,
    netns: NetnsRef,
    situation: &Situation<'_>,
    random: Random,
) -> Result<Outcome, AttachError> {
    situation.check_node()?;
    let network = situation.intent.network(&request.network)?;
    let service = situation.membership(network, request)?;
    situation.check_netns(network, &netns)?;
    situation.check_names(network, request)?;
    let ifname = situation.ifname(request.ifname.as_deref(), &netns)?;
    let mac = situation.mac(network, request.mac, random.mac)?;

    let mut addresses = Vec::new();
    let wanted = [request.ip.map(IpAddr::V4), request.ip6.map(IpAddr::V6)];
    for address in wanted.into_iter().flatten() {
        situation.check_address(network, address)?;
    }
    for subnet in &network.subnets {
        let wanted = wanted.into_iter().flatten().find(|address| subnet.net.contains(address));
        match situation.address(network, subnet, wanted, random.id) {
            Ok(address) => addresses.push(address),
            Err(needed) => return Ok(Outcome::NeedsBlock(needed)),
        }
    }
    let endpoint = Endpoint {
        id: EndpointId::from_bytes(random.id),
        network: network.id,
        name: request.name.clone(),
        mac,
        ip4: addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        }),
        ip6: addresses.iter().find_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        }),
        aliases: request.aliases.clone(),
        labels: request.labels.clone(),
        forward: request.forward,
        service,
    };
    Ok(Outcome::Ready(Attachment { endpoint, netns, ifname }))
}

impl<'a> Situation<'a> {
    fn in_network(&self, network: &Network) -> impl Iterator<Item = (NodeId, &'a Endpoint)> {
        let id = network.id;
        endpoints(self.me, self.view, self.attachments).filter(move |(_, endpoint)| endpoint.network == id)
    }

    /// A node that shall take no endpoints takes none.
    fn check_node(&self) -> Result<(), AttachError> {
        match self.intent.nodes.get(&self.me) {
            Some(Node { hostname, availability, .. }) if *availability != Availability::Active => {
                Err(AttachError::NodeUnavailable { hostname: hostname.clone(), availability: *availability })
            }
            _ => Ok(()),
        }
    }

    /// What the endpoint will say of the service that the user named.
    fn membership(
        &self,
        network: &Network,
        request: &api::EndpointAttach,
    ) -> Result<Option<Membership>, AttachError> {
        let Some(reference) = &request.service else {
            return if request.weight.is_some() { Err(AttachError::WeightOfNothing) } else { Ok(None) };
        };
        let service = self.intent.service(reference).map_err(IntentError::from)?;
        if !service.networks.contains(&network.id) {
            let networks = service.networks.iter().filter_map(|id| self.intent.networks.get(id));
            return Err(AttachError::NotInService {
                network: network.name.clone(),
                service: service.name.clone(),
                networks: networks.map(|network| network.name.clone()).collect(),
            });
        }
        let weight = request.weight.unwrap_or_default();
        Ok(Some(Membership { service: service.name.clone(), weight }))
    }

    /// A namespace has at most one interface in a network, and none in two networks that share addresses: it
    /// could not tell where to send.
    fn check_netns(&self, network: &Network, netns: &NetnsRef) -> Result<(), AttachError> {
        let inside = self.attachments.values().filter(|attachment| attachment.netns.id == netns.id);
        for attachment in inside {
            let endpoint = attachment.endpoint.name.clone();
            if attachment.endpoint.network == network.id {
                return Err(AttachError::AlreadyAttached { endpoint, network: network.name.clone() });
            }
            let other = self.intent.networks.get(&attachment.endpoint.network);
            if let Some(other) = other.filter(|other| other.overlaps(network)) {
                return Err(AttachError::NetworksOverlap {
                    endpoint,
                    network: network.name.clone(),
                    other: other.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The name that was asked for, or the first free `eth` and number. An interface that the reconciler has yet
    /// to make has its name already.
    fn ifname(&self, wanted: Option<&str>, netns: &NetnsRef) -> Result<String, AttachError> {
        let promised = self.attachments.values().filter(|attachment| attachment.netns.id == netns.id);
        let taken: BTreeSet<&str> = promised
            .map(|attachment| attachment.ifname.as_str())
            .chain(self.ifnames_taken.iter().map(String::as_str))
            .collect();
        if let Some(name) = wanted {
            check_ifname(name).map_err(|invalid| AttachError::InterfaceName { what: invalid.to_string() })?;
            if taken.contains(name) {
                return Err(AttachError::InterfaceTaken { name: name.to_owned(), netns: netns.path.clone() });
            }
            return Ok(name.to_owned());
        }
        // One of them is free: there are more numbers than names taken.
        let mut names = (0..=taken.len()).map(|number| format!("eth{number}"));
        Ok(names.find(|name| !taken.contains(name.as_str())).unwrap_or_default())
    }

    /// Names are those of DNS, which does not tell upper from lower case.
    fn check_names(&self, network: &Network, request: &api::EndpointAttach) -> Result<(), AttachError> {
        let same = |one: &Name, other: &Name| one.as_str().eq_ignore_ascii_case(other.as_str());
        let names: Vec<&Name> = std::iter::once(&request.name).chain(&request.aliases).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].iter().any(|earlier| same(earlier, name)) {
                return Err(AttachError::NameTwice { name: (*name).clone() });
            }
            let holder = self.in_network(network).find(|(_, endpoint)| {
                std::iter::once(&endpoint.name).chain(&endpoint.aliases).any(|taken| same(taken, name))
            });
            if let Some((owner, endpoint)) = holder {
                return Err(AttachError::NameTaken {
                    name: (*name).clone(),
                    network: network.name.clone(),
                    endpoint: endpoint.name.clone(),
                    hostname: self.intent.hostname(owner),
                });
            }
        }
        Ok(())
    }

    fn mac(
        &self,
        network: &Network,
        given: Option<MacAddr>,
        random: [u8; 6],
    ) -> Result<MacAddr, AttachError> {
        let mac = given.unwrap_or(MacAddr::local_from(random));
        if mac == MacAddr::gateway(network.vni) {
            return Err(AttachError::GatewayMac { mac, network: network.name.clone() });
        }
        match self.in_network(network).find(|(_, endpoint)| endpoint.mac == mac) {
            None => Ok(mac),
            Some((owner, endpoint)) => Err(AttachError::MacTaken {
                mac,
                network: network.name.clone(),
                endpoint: endpoint.name.clone(),
                hostname: self.intent.hostname(owner),
            }),
        }
    }

    /// Whether the user may have that address.
    fn check_address(&self, network: &Network, address: IpAddr) -> Result<(), AttachError> {
        let of_family = |subnet: &&Subnet| subnet.net.network().is_ipv4() == address.is_ipv4();
        let Some(subnet) = network.subnets.iter().find(of_family) else {
            return Err(AttachError::NoSuchFamily { address, network: network.name.clone() });
        };
        if let Some((owner, endpoint)) =
            self.in_network(network).find(|(_, endpoint)| endpoint.addresses().any(|used| used == address))
        {
            return Err(AttachError::AddressTaken {
                address,
                network: network.name.clone(),
                endpoint: endpoint.name.clone(),
                hostname: self.intent.hostname(owner),
            });
        }
        if self.released.contains(&(network.id, address)) {
            return Err(AttachError::AddressReleased { address, network: network.name.clone() });
        }
        Ok(self.intent.check_address(network, subnet, address, self.me)?)
    }

    /// The endpoint's address in that subnet, or the grant that it takes.
    fn address(
        &self,
        network: &Network,
        subnet: &Subnet,
        wanted: Option<IpAddr>,
        random: [u8; 16],
    ) -> Result<IpAddr, GrantBlock> {
        let address = match wanted {
            Some(address) => self.intent.block_of(network.id, address).map(|_| address),
            None => self.pick(network, subnet, random),
        };
        address.ok_or(GrantBlock { network: network.id, node: self.me, subnet: subnet.net, address: wanted })
    }

    fn pick(&self, network: &Network, subnet: &Subnet, random: [u8; 16]) -> Option<IpAddr> {
        let grants: &Grants = self.intent.grants.get(&network.id)?;
        let released = self.released.iter().filter(|(id, _)| *id == network.id).map(|(_, address)| *address);
        let used = self.in_network(network).flat_map(|(_, endpoint)| endpoint.addresses());
        let used = used.chain(released).collect();
        grants.pick(self.me, subnet, &used, random)
    }
}

/// All endpoints known, with their owners. Of this node's own, `attachments` decides.
fn endpoints<'a>(
    me: NodeId,
    view: &'a View,
    attachments: &'a BTreeMap<EndpointId, Attachment>,
) -> impl Iterator<Item = (NodeId, &'a Endpoint)> {
    let local = attachments.values().map(move |attachment| (me, &attachment.endpoint));
    let remote = view.endpoints();
    local.chain(remote.filter(move |(owner, _)| *owner != me))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod service_tests;
