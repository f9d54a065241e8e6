//! The least that tc programs can do for a published port: see `floor/published.rs`.

use std::net::UdpSocket;

use anyhow::Result;
use aya::Ebpf;
use overlay_harness::{Lab, Netns, Node};

use super::layouts::{PUBLISHED, TARGET, v4};
use crate::floors::{self, HOST_END, Known};
use crate::paths::{self, UNDERLAY};

/// Has the first node send on what the client asks, to a container on the second one.
pub(super) fn attach(lab: &Lab, client: &Netns, container: &Netns) -> Result<[Ebpf; 2]> {
    let nodes: [&Node; 2] = lab.nodes();
    let vteps = [v4(nodes[0].addr())?, v4(nodes[1].addr())?];
    for node in nodes {
        floors::vxlan_port(node.netns())?;
    }
    floors::joined(nodes[1].netns(), container, 1)?;
    container.ip(&format!("route add default via {}", paths::endpoint_address(0)))?;
    let client = client.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((vteps[0], PUBLISHED))?;
        v4(socket.local_addr()?.ip())
    })?;
    // In the order of the wire.
    let addresses = [client, vteps[0], paths::endpoint_address(1)].map(|address| u32::from(address).to_be());
    let ports = [PUBLISHED, TARGET].map(u16::to_be);
    let attached = |index: usize, programs: &[(&str, &str)]| {
        nodes[index].netns().run(|| {
            let known = Known::to(index, [vteps[index], vteps[1 - index]])?;
            let mut loader = known.loader();
            for (name, address) in ["CLIENT", "ASKED", "BACKEND"].into_iter().zip(&addresses) {
                loader.override_global(name, address, true);
            }
            for (name, port) in ["PUBLISHED", "TARGET"].into_iter().zip(&ports) {
                loader.override_global(name, port, true);
            }
            let mut ebpf = loader.load(floors::PROGRAMS)?;
            floors::attach(&mut ebpf, programs)?;
            Ok(ebpf)
        })
    };
    Ok([
        attached(0, &[("floor_asked", UNDERLAY)])?,
        attached(1, &[("floor_land", UNDERLAY), ("floor_answer", HOST_END)])?,
    ])
}
