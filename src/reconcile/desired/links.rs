//! The devices that a node should have.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Host, effective_mtu};
use crate::facts::View;
use crate::intent::Intent;
use crate::model::{Attachment, EndpointId, Network};
use crate::reconcile::links::{VethSpec, Vxlan};

/// The devices that a node should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredLinks {
    /// The VXLAN device, on every member of a cluster.
    pub vxlan: Option<Vxlan>,
    /// The veth pairs of its endpoints, by the host end's name.
    pub veths: BTreeMap<String, VethSpec>,
}

/// The devices that `host` should have. An attachment whose network was removed is left out, so its veth pair
/// goes.
pub fn links(
    host: &Host<'_>,
    intent: &Intent,
    view: &View,
    attachments: &BTreeMap<EndpointId, Attachment>,
) -> DesiredLinks {
    let vxlan = intent.cluster.is_some().then(|| Vxlan {
        name: host.config.vxlan_device.clone(),
        port: host.config.data_port,
        up: true,
    });
    let veths = attachments
        .values()
        .filter_map(|attachment| {
            let network = intent.networks.get(&attachment.endpoint.network)?;
            let spec = veth(host, network, effective_mtu(network, view, host.underlay), attachment);
            Some((spec.host_ifname.clone(), spec))
        })
        .collect();
    DesiredLinks { vxlan, veths }
}

fn veth(host: &Host<'_>, network: &Network, mtu: u16, attachment: &Attachment) -> VethSpec {
    let endpoint = &attachment.endpoint;
    let with_prefix = |address| IpNet::new(address, network.subnet_of(address)?.net.prefix_len()).ok();
    let gateway = |address| network.subnet_of(address).filter(|_| !network.internal).map(|net| net.gateway);
    VethSpec {
        host_ifname: attachment.host_ifname(&host.config.veth_prefix),
        netns: attachment.netns.clone(),
        ifname: attachment.ifname.clone(),
        mac: endpoint.mac,
        addresses: endpoint.addresses().filter_map(with_prefix).collect(),
        gateways: endpoint.addresses().filter_map(gateway).collect(),
        mtu,
    }
}
