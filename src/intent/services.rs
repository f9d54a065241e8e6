//! How commands change services. As in `apply`, every check comes before the first change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::service_error::PortUse;
use super::{CreateService, Intent, IntentError, Reply, ServiceChange, ServiceError};
use crate::model::{
    EndpointId, EndpointMode, NetworkId, Node, PortRange, Protocol, Publish, Service, ServiceId, Vip,
};

/// How many ports and ranges a service publishes at most: each is compared with every other.
const MOST_PUBLISHED: usize = 100;

pub(super) fn create(intent: &mut Intent, request: &CreateService) -> Result<Reply, IntentError> {
    if let Some(service) = intent.services.get(&request.id) {
        // Only a command that was proposed twice, its first answer lost, has an id that exists.
        return Ok(Reply::Service(service.clone()));
    }
    let same = |one: &Service| one.name.as_str().eq_ignore_ascii_case(request.name.as_str());
    if let Some(other) = intent.services.values().find(|service| same(service)) {
        return Err(ServiceError::ServiceExists { name: other.name.clone() }.into());
    }
    let service = Service {
        id: request.id,
        name: request.name.clone(),
        networks: without_repeats(&request.networks),
        publish: request.publish.clone(),
        endpoint_mode: request.endpoint_mode,
        source_ip: request.source_ip,
        affinity: request.affinity,
        stop_grace_period: request.stop_grace_period,
        unavailable: request.unavailable,
        vips: Vec::new(),
        drained: BTreeMap::new(),
        labels: request.labels.clone(),
    };
    put(intent, service)
}

pub(super) fn update(
    intent: &mut Intent,
    id: ServiceId,
    change: &ServiceChange,
) -> Result<Reply, IntentError> {
    let mut service = known(intent, id)?.clone();
    service.networks.retain(|network| !change.networks_rm.contains(network));
    service.networks.extend(&change.networks_add);
    service.networks = without_repeats(&service.networks);
    for (protocol, ports) in &change.publish_rm {
        unpublish(&mut service, *protocol, *ports)?;
    }
    let new = change.publish_add.iter().filter(|new| !service.publish.contains(new));
    service.publish.extend(new.copied().collect::<Vec<Publish>>());
    service.endpoint_mode = change.endpoint_mode.unwrap_or(service.endpoint_mode);
    service.source_ip = change.source_ip.unwrap_or(service.source_ip);
    service.affinity = change.affinity.unwrap_or(service.affinity);
    service.stop_grace_period = change.stop_grace_period.unwrap_or(service.stop_grace_period);
    service.unavailable = change.unavailable.unwrap_or(service.unavailable);
    service.labels.retain(|key, _| !change.labels_rm.contains(key));
    service.labels.extend(change.labels_add.clone());
    put(intent, service)
}

pub(super) fn remove(intent: &mut Intent, id: ServiceId) -> Result<Reply, IntentError> {
    known(intent, id)?;
    intent.services.remove(&id);
    intent.version += 1;
    Ok(Reply::Done)
}

pub(super) fn drain(
    intent: &mut Intent,
    id: ServiceId,
    endpoint: EndpointId,
    since: Option<u64>,
) -> Result<Reply, IntentError> {
    let mut service = known(intent, id)?.clone();
    // Whoever drains it once more does not make its flows last longer.
    match since {
        Some(since) => drop(service.drained.entry(endpoint).or_insert(since)),
        None => drop(service.drained.remove(&endpoint)),
    }
    if intent.services.get(&id) != Some(&service) {
        intent.services.insert(id, service.clone());
        intent.version += 1;
    }
    Ok(Reply::Service(service))
}

/// A node whose ports a service publishes would lose what comes in on them to the service.
pub(super) fn refuse_node_ports(intent: &Intent, node: &Node) -> Result<(), ServiceError> {
    for service in intent.services.values() {
        for publish in &service.publish {
            if let Some((protocol, port, use_)) = port_of_node(node, publish) {
                let (hostname, service) = (node.hostname.clone(), service.name.clone());
                return Err(ServiceError::NodePortPublished { protocol, port, use_, hostname, service });
            }
        }
    }
    Ok(())
}

impl Intent {
    /// The virtual addresses of all services in `network`.
    pub fn vips_in(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        self.services.values().flat_map(|service| service.vips_in(network)).collect()
    }

    /// The service that has that virtual address in `network`.
    pub fn service_with_vip(&self, network: NetworkId, address: IpAddr) -> Option<&Service> {
        self.services.values().find(|service| service.vips.contains(&Vip { network, address }))
    }
}

/// Checks a service that is new or changed, gives it the virtual addresses that it lacks, and stores it.
fn put(intent: &mut Intent, mut service: Service) -> Result<Reply, IntentError> {
    if service.networks.is_empty() {
        return Err(ServiceError::NoNetwork { service: service.name }.into());
    }
    if let Some(unknown) = service.networks.iter().find(|network| !intent.networks.contains_key(network)) {
        return Err(IntentError::NoSuchNetwork { reference: unknown.to_string() });
    }
    let count = service.publish.len();
    if count > MOST_PUBLISHED {
        return Err(ServiceError::TooManyPorts { count, most: MOST_PUBLISHED }.into());
    }
    refuse_ports(intent, &service)?;
    service.vips = vips(intent, &service)?;
    if intent.services.get(&service.id) != Some(&service) {
        intent.services.insert(service.id, service.clone());
        intent.version += 1;
    }
    Ok(Reply::Service(service))
}

fn known(intent: &Intent, id: ServiceId) -> Result<&Service, ServiceError> {
    intent.services.get(&id).ok_or_else(|| ServiceError::NoSuchService { reference: id.to_string() })
}

fn without_repeats(networks: &[NetworkId]) -> Vec<NetworkId> {
    let mut seen = BTreeSet::new();
    networks.iter().copied().filter(|network| seen.insert(*network)).collect()
}

fn unpublish(service: &mut Service, protocol: Protocol, ports: PortRange) -> Result<(), ServiceError> {
    let before = service.publish.len();
    service.publish.retain(|publish| (publish.protocol(), publish.published()) != (protocol, ports));
    if service.publish.len() == before {
        return Err(ServiceError::NotPublished { protocol, ports, service: service.name.clone() });
    }
    Ok(())
}

fn refuse_ports(intent: &Intent, service: &Service) -> Result<(), ServiceError> {
    let others = || intent.services.values().filter(|other| other.id != service.id);
    for (index, publish) in service.publish.iter().enumerate() {
        let protocol = publish.protocol();
        if let Some(port) = service.publish[..index].iter().find_map(|other| publish.clash(other)) {
            return Err(ServiceError::PortTwice { protocol, port });
        }
        for other in others() {
            if let Some(port) = other.publish.iter().find_map(|theirs| publish.clash(theirs)) {
                return Err(ServiceError::PortPublished { protocol, port, service: other.name.clone() });
            }
        }
        for node in intent.nodes.values() {
            if let Some((protocol, port, use_)) = port_of_node(node, publish) {
                let hostname = node.hostname.clone();
                return Err(ServiceError::PortOfNode { protocol, port, use_, hostname });
            }
        }
    }
    Ok(())
}

/// The first of a node's own ports that `publish` takes.
fn port_of_node(node: &Node, publish: &Publish) -> Option<(Protocol, u16, PortUse)> {
    [
        (Protocol::Udp, node.data_port, PortUse::Data),
        (Protocol::Udp, node.gossip_port, PortUse::Gossip),
        (Protocol::Tcp, node.gossip_port, PortUse::Gossip),
        (Protocol::Tcp, node.api_port, PortUse::Api),
    ]
    .into_iter()
    .find(|(protocol, port, _)| publish.protocol() == *protocol && publish.published().contains(*port))
}

/// The service's virtual addresses: those that it has and still needs, and new ones for the subnets that lack one.
fn vips(intent: &Intent, service: &Service) -> Result<Vec<Vip>, ServiceError> {
    let mut vips = Vec::new();
    if service.endpoint_mode == EndpointMode::Dnsrr {
        return Ok(vips);
    }
    for network in service.networks.iter().filter_map(|id| intent.networks.get(id)) {
        let taken = intent.vips_in(network.id);
        let grants = intent.grants.get(&network.id).cloned().unwrap_or_default();
        for subnet in &network.subnets {
            let kept = service.vips_in(network.id).find(|address| subnet.net.contains(address));
            let address =
                kept.or_else(|| grants.free_vip(subnet, &taken)).ok_or_else(|| ServiceError::NoVipLeft {
                    subnet: subnet.net,
                    network: network.name.clone(),
                    service: service.name.clone(),
                })?;
            vips.push(Vip { network: network.id, address });
        }
    }
    Ok(vips)
}
