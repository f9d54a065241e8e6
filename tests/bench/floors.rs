//! The least that tc programs can do: what the floor's programs know of a node, and how they are attached.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;
use overlay_harness::Netns;
use overlay_packet::{Address, ethernet, ip, vxlan};

use crate::paths::{UNDERLAY, configure, endpoint_mac};

/// The floor's programs and the switch's, built by `build.rs`.
pub(crate) static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/overlay-floor"));

/// The host's end of the endpoint's veth pair.
pub(crate) const HOST_END: &str = "fveth0";

/// What the programs know beforehand.
pub(crate) struct Known {
    underlay: u32,
    host_end: u32,
    sent: [u16; vxlan::HEADERS4],
    delivered: [u16; ethernet::LEN / 2],
}

impl Known {
    /// To a node in this thread's network namespace; by its own VTEP and the other node's.
    pub(crate) fn to(index: usize, [own, other]: [Ipv4Addr; 2]) -> Result<Self> {
        let header = |from, to| {
            let (source, destination) = (endpoint_mac(from), endpoint_mac(to));
            ethernet::Header::new(destination, source, ethernet::IPV4)
        };
        let outer = vxlan::Outer {
            source: Address::v4(own.octets()),
            destination: Address::v4(other.octets()),
            source_port: 0,
            destination_port: 4789,
            vni: 7,
            ecn: ip::ecn::NOT_ECT,
            // No length field can say that, so they say 0.
            inner: 1 << 16,
        };
        Ok(Self {
            underlay: if_nametoindex(UNDERLAY)?,
            // A node without an endpoint delivers nothing.
            host_end: if_nametoindex(HOST_END).unwrap_or(0),
            sent: outer.v4(&header(index, 1 - index)),
            delivered: header(1 - index, index).words(),
        })
    }

    pub(crate) fn loader(&self) -> EbpfLoader<'_> {
        let mut loader = EbpfLoader::new();
        loader
            .override_global("UNDERLAY", &self.underlay, true)
            .override_global("HOST_END", &self.host_end, true)
            .override_global("SENT", &self.sent, true)
            .override_global("DELIVERED", &self.delivered, true);
        loader
    }
}

/// Joins an endpoint to a node.
pub(crate) fn joined(node: &Netns, endpoint: &Netns, index: usize) -> Result<()> {
    node.ip(&format!("link add {HOST_END} mtu 1450 type veth peer name eth0 mtu 1450 netns {endpoint}"))?;
    node.ip(&format!("link set {HOST_END} up"))?;
    configure(endpoint, "eth0", index)
}

/// Has the kernel's GRO know which port is VXLAN's, as it does on the overlay's nodes. Carries nothing.
pub(crate) fn vxlan_port(node: &Netns) -> Result<()> {
    node.ip("link add fvx0 type vxlan external dstport 4789 nolearning")?;
    node.ip("link set fvx0 up").map(drop)
}

/// Attaches programs at the ingress of devices of this thread's network namespace, for as long as they are there.
pub(crate) fn attach(ebpf: &mut Ebpf, programs: &[(&str, &str)]) -> Result<()> {
    for (name, device) in programs {
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).context("a program is missing")?.try_into()?;
        program.load().with_context(|| format!("loading {name}"))?;
        program.attach(device, TcAttachType::Ingress).with_context(|| format!("attaching {name}"))?;
    }
    Ok(())
}
