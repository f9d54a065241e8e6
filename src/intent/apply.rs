//! `apply()`: how a command changes intent. Every check comes before the first change, so that a refused
//! command leaves nothing behind.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{
    Command, CreateNetwork, GrantBlock, Intent, IntentError, ReleaseBlock, Reply, ServiceError, State,
};
use super::{members, services, trust};
use crate::model::{Network, NetworkId, Node, Subnet, Vni};

/// The lowest VNI that is chosen: lower ones, and with them all VLAN ids, are left to other VXLAN users.
const FIRST_VNI: u32 = 4097;
/// Where subnets come from that users leave out.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
/// The prefix length of a subnet from the pool.
const POOL_PREFIX: u8 = 20;

/// Applies a command.
///
/// # Errors
/// What the command clashes with; `state` is as it was then.
pub fn apply(state: &mut State, command: &Command) -> Result<Reply, IntentError> {
    let begins = matches!(command, Command::InitCluster { .. } | Command::Restore { .. });
    if !begins && state.intent.cluster.is_none() {
        return Err(IntentError::NotInitialized);
    }
    let State { intent, secrets } = state;
    let changed = match command {
        Command::CreateNetwork(request) => return create_network(intent, request),
        Command::RemoveNetwork { id } => return remove_network(intent, *id),
        Command::GrantBlock(request) => return grant_block(intent, request),
        Command::ReleaseBlock(request) => return Ok(release_block(intent, request)),
        Command::CreateService(request) => return services::create(intent, request),
        Command::UpdateService { id, change } => return services::update(intent, *id, change),
        Command::RemoveService { id } => return services::remove(intent, *id),
        Command::DrainBackend { service, endpoint, since } => {
            return services::drain(intent, *service, *endpoint, *since);
        }
        Command::InitCluster { cluster, node, secrets: drawn } => {
            trust::init(intent, secrets, cluster, node, drawn)
        }
        Command::Restore { state: backup, node, epoch } => {
            trust::restore(intent, secrets, backup, node, *epoch)
        }
        Command::ForceNewCluster { node, epoch } => trust::begin_anew(intent, *node, *epoch),
        Command::PutNode(node) => members::put(intent, node),
        Command::AdmitNode(request) => members::admit(intent, request),
        Command::RemoveNode { id, force } => members::remove(intent, *id, *force),
        Command::SetRole { node, manager } => members::set_role(intent, *node, *manager),
        Command::UpdateNode { node, change, at } => members::update(intent, *node, change, *at),
        Command::NoteCertificate { node, issuer } => members::note_certificate(intent, *node, issuer),
        Command::RotateToken { manager, secret } => Ok(trust::rotate_token(secrets, *manager, secret)),
        Command::AddGossipKey { id, key, at } => trust::add_gossip_key(intent, *id, key, *at),
        Command::UseGossipKey { id } => trust::use_gossip_key(intent, *id),
        Command::DropGossipKey { id } => trust::drop_gossip_key(intent, *id),
        Command::WantGossipKey => trust::want_gossip_key(intent),
        Command::AddCa(ca) => trust::add_ca(intent, secrets, ca),
        Command::UseCa { cert } => trust::use_ca(intent, secrets, cert),
        Command::DropCa { cert } => trust::drop_ca(intent, cert),
    };
    intent.version += u64::from(changed?);
    Ok(Reply::Done)
}

fn create_network(intent: &mut Intent, request: &CreateNetwork) -> Result<Reply, IntentError> {
    if let Some(network) = intent.networks.get(&request.id) {
        // Only a command that was proposed twice, its first answer lost, has an id that exists.
        return Ok(Reply::Network(network.clone()));
    }
    if intent.network_named(&request.name).is_some() {
        return Err(IntentError::NetworkExists { name: request.name.clone() });
    }
    let network = Network {
        id: request.id,
        name: request.name.clone(),
        vni: free_vni(intent)?,
        subnets: subnets(intent, request)?,
        mtu: request.mtu,
        internal: request.internal,
        allow_overlap: request.allow_overlap,
        labels: request.labels.clone(),
    };
    if let Some(mtu) = network.mtu.filter(|mtu| !network.mtu_range().contains(mtu)) {
        let (lowest, highest) = network.mtu_range().into_inner();
        return Err(IntentError::MtuOutOfRange { mtu, lowest, highest });
    }
    refuse_overlap(intent, &network)?;
    intent.networks.insert(network.id, network.clone());
    intent.version += 1;
    Ok(Reply::Network(network))
}

fn remove_network(intent: &mut Intent, id: NetworkId) -> Result<Reply, IntentError> {
    let Some(network) = intent.networks.get(&id) else {
        return Err(IntentError::NoSuchNetwork { reference: id.to_string() });
    };
    if let Some(service) = intent.services.values().find(|service| service.networks.contains(&id)) {
        let (network, service) = (network.name.clone(), service.name.clone());
        return Err(ServiceError::NetworkInUse { network, service }.into());
    }
    intent.networks.remove(&id);
    intent.grants.remove(&id);
    intent.version += 1;
    Ok(Reply::Done)
}

fn grant_block(intent: &mut Intent, request: &GrantBlock) -> Result<Reply, IntentError> {
    let network = intent
        .networks
        .get(&request.network)
        .ok_or_else(|| IntentError::NoSuchNetwork { reference: request.network.to_string() })?;
    if !intent.nodes.contains_key(&request.node) {
        return Err(IntentError::NoSuchNode { node: request.node });
    }
    let subnet =
        network.subnets.iter().find(|subnet| subnet.net == request.subnet).ok_or_else(|| {
            IntentError::NoSuchSubnet { network: network.name.clone(), subnet: request.subnet }
        })?;
    if let Some(address) = request.address {
        intent.check_address(network, subnet, address, request.node)?;
        if let Some(block) = intent.block_of(network.id, address) {
            return Ok(Reply::Block(*block));
        }
    }
    let exhausted = IntentError::SubnetExhausted { network: network.name.clone(), subnet: request.subnet };
    // An entry without blocks would be a change that a refused command leaves behind.
    let mut grants = intent.grants.get(&request.network).cloned().unwrap_or_default();
    let version = intent.version + 1;
    let block = match request.address {
        Some(address) => grants.grant_single(request.node, address, version),
        None => grants.grant(request.node, subnet, &intent.vips_in(network.id), version).ok_or(exhausted)?,
    };
    intent.grants.insert(request.network, grants);
    intent.version = version;
    Ok(Reply::Block(block))
}

fn release_block(intent: &mut Intent, request: &ReleaseBlock) -> Reply {
    if let Some(grants) = intent.grants.get_mut(&request.network)
        && grants.blocks.contains(&request.block)
    {
        grants.blocks.retain(|block| *block != request.block);
        intent.version += 1;
    }
    Reply::Done
}

fn free_vni(intent: &Intent) -> Result<Vni, IntentError> {
    let taken: BTreeSet<Vni> = intent.networks.values().map(|network| network.vni).collect();
    (FIRST_VNI..=Vni::MAX)
        .filter_map(|value| Vni::new(value).ok())
        .find(|vni| !taken.contains(vni))
        .ok_or(IntentError::VnisExhausted { first: FIRST_VNI, last: Vni::MAX })
}

/// The new network's subnets with their gateways, IPv4 first.
fn subnets(intent: &Intent, request: &CreateNetwork) -> Result<Vec<Subnet>, IntentError> {
    let mut nets = request.subnets.clone();
    if !nets.iter().any(|net| matches!(net, IpNet::V4(_))) {
        nets.push(from_pool(intent)?);
    }
    nets.sort();
    if let Some(pair) =
        nets.windows(2).find(|pair| pair[0].network().is_ipv4() == pair[1].network().is_ipv4())
    {
        return Err(IntentError::TwoSubnetsOfOneFamily { first: pair[0], second: pair[1] });
    }
    if let Some(gateway) =
        request.gateways.iter().find(|gateway| !nets.iter().any(|net| net.contains(*gateway)))
    {
        return Err(IntentError::GatewayOutside { gateway: *gateway, subnets: nets });
    }
    nets.into_iter().map(|net| with_gateway(net, &request.gateways)).collect()
}

fn with_gateway(net: IpNet, gateways: &[IpAddr]) -> Result<Subnet, IntentError> {
    let mut inside = gateways.iter().copied().filter(|gateway| net.contains(gateway));
    let gateway = inside.next();
    if let (Some(first), Some(second)) = (gateway, inside.next()) {
        return Err(IntentError::TwoGateways { first, second, subnet: net });
    }
    Subnet::new(net, gateway).map_err(|invalid| IntentError::InvalidSubnet { what: invalid.to_string() })
}

/// The pool's lowest subnet that nobody uses.
fn from_pool(intent: &Intent) -> Result<IpNet, IntentError> {
    let networks = intent.networks.values().flat_map(|network| &network.subnets).map(|subnet| subnet.net);
    let underlays = intent.nodes.values().flat_map(|node| &node.underlay).copied();
    let taken: Vec<IpNet> = IpNet::aggregate(&networks.chain(underlays).map(|net| net.trunc()).collect());
    let exhausted = IntentError::PoolExhausted { pool: POOL.into(), prefix: POOL_PREFIX };
    POOL.subnets(POOL_PREFIX)
        .ok()
        .and_then(|mut candidates| {
            candidates.find(|candidate| !taken.iter().any(|taken| overlap(&IpNet::from(*candidate), taken)))
        })
        .map(IpNet::from)
        .ok_or(exhausted)
}

fn refuse_overlap(intent: &Intent, network: &Network) -> Result<(), IntentError> {
    for node in intent.nodes.values() {
        if let Some((subnet, underlay)) = underlay_overlap(&network.subnets, node) {
            return Err(IntentError::UnderlayOverlap { subnet, underlay, hostname: node.hostname.clone() });
        }
    }
    if network.allow_overlap {
        return Ok(());
    }
    for other in intent.networks.values() {
        for (mine, theirs) in pairs(&network.subnets, &other.subnets) {
            if mine.overlaps(&theirs.net) {
                return Err(IntentError::NetworkOverlap {
                    subnet: mine.net,
                    network: other.name.clone(),
                    theirs: theirs.net,
                });
            }
        }
    }
    Ok(())
}

/// The first subnet that shares addresses with what the node is in, and what that is.
pub(super) fn underlay_overlap(subnets: &[Subnet], node: &Node) -> Option<(IpNet, IpNet)> {
    pairs(subnets, &node.underlay)
        .find(|(subnet, underlay)| subnet.overlaps(underlay))
        .map(|(subnet, underlay)| (subnet.net, *underlay))
}

fn pairs<'a, A, B>(left: &'a [A], right: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    left.iter().flat_map(move |one| right.iter().map(move |other| (one, other)))
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
