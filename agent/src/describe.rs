//! How this node describes itself.

use std::net::IpAddr;

use overlay::config::Config;
use overlay::hex;
use overlay::model::{Availability, Labels, Node, NodeId};

use crate::gossip::FactsKey;
use crate::kernel::netlink::Netlink;

/// The node's name for people.
pub fn hostname(config: &Config) -> String {
    let own = || {
        nix::unistd::gethostname().map_or_else(|_| "localhost".into(), |name| name.to_string_lossy().into())
    };
    config.hostname.clone().unwrap_or_else(own)
}

/// What this node tells the managers of itself. Its availability is not its own to tell: the managers keep theirs.
pub async fn node(
    config: &Config,
    id: NodeId,
    addr: IpAddr,
    manager: bool,
    facts_key: &FactsKey,
) -> anyhow::Result<Node> {
    let netlink = Netlink::open()?;
    Ok(Node {
        id,
        hostname: hostname(config),
        addr,
        gossip_port: config.gossip_port,
        api_port: config.api_port,
        data_port: config.data_port,
        manager,
        underlay: netlink.interface_subnets(&config.vxlan_device, &config.veth_prefix).await?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        facts_key: hex::encode(facts_key),
        availability: Availability::Active,
        drained_at: 0,
        labels: Labels::new(),
        ca_generation: 0,
        key: String::new(),
    })
}
