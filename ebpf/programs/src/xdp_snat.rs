//! [`crate::snat`] before the kernel's own receive path: has the packets of flows that tc has begun to hide come from here.

use aya_ebpf::programs::XdpContext;
use overlay_abi::services::{FlowKey, scope};
use overlay_packet::{ethernet, ip};

use crate::flow;
use crate::xdp_packet::{self, End};
use crate::xdp_underlay::Seen;

/// Puts this node's address and `port` in the client's place. False if that port is no longer the client's; then tc takes
/// another one, and nothing is changed.
#[inline(always)]
pub fn hide(ctx: &XdpContext, seen: &Seen, port: u16) -> bool {
    let key = &seen.key;
    let kinds = (seen.ethertype == ethernet::IPV4, key.protocol == ip::protocol::UDP);
    let client = End { second: false, address: &key.source, port: key.source_port };
    (port == key.source_port || renew(seen, port))
        && xdp_packet::change(ctx, ethernet::LEN, kinds, client, &key.destination, port)
}

/// Notes another packet of the flow whose answers come to the port, if that is the packet's. With the client's own port, that
/// has been done.
#[inline(always)]
fn renew(seen: &Seen, port: u16) -> bool {
    let key = &seen.key;
    let asked = (key.destination, key.destination_port);
    let back = FlowKey::new(scope::SNAT_RETURN, 0, key.protocol, asked, (key.destination, port));
    match flow::find(&back, seen.now) {
        Some(flow) if flow.port == key.source_port && flow.address == key.source => {
            flow::follow(flow, &seen.transport());
            true
        }
        _ => false,
    }
}
