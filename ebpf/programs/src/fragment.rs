//! Fragments of a flow's packets. The first one alone has the ports; it leaves them behind for the others, which are then of
//! the same flow, as long as it comes before them.

use overlay_abi::services::{Flow, FlowKey, scope};
use overlay_packet::ip;

use crate::transport::{Part, Transport};
use crate::work::Work;
use crate::{flow, maps};

/// Keeps the ports of a packet that is one of ours, for its later fragments in that network, or 0 outside of all.
#[inline(always)]
pub fn keep(work: &Work, vni: u32) {
    if work.transport.part == Part::First {
        keep_ports(work.packet(), &work.transport, vni);
    }
}

#[inline(never)]
fn keep_ports(packet: &ip::Header, transport: &Transport, vni: u32) {
    let flow = Flow {
        seen: transport.now,
        generation: u32::from(transport.source_port),
        port: transport.destination_port,
        ..Flow::default()
    };
    maps::keep_flow(&key(packet, transport, vni), &flow);
}

/// Finds the ports of a later fragment. False where the first one has not come, or is none of ours.
#[inline(never)]
pub fn find_ports(packet: &ip::Header, transport: &mut Transport, vni: u32) -> bool {
    let Some(flow) = flow::find(&key(packet, transport, vni), transport.now) else { return false };
    (transport.source_port, transport.destination_port) = (flow.generation as u16, flow.port);
    true
}

#[inline(always)]
fn key(packet: &ip::Header, transport: &Transport, vni: u32) -> FlowKey {
    let [high, low] = [transport.identification >> 16, transport.identification].map(|half| half as u16);
    let ends = ((packet.source(), high), (packet.destination(), low));
    FlowKey::new(scope::FRAGMENT, vni, transport.protocol, ends.0, ends.1)
}
