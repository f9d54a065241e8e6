//! [`crate::snat`] before the kernel's own receive path: has the packets of flows that tc has begun to hide come from here.

use aya_ebpf::programs::XdpContext;
use overlay_abi::services::{FlowKey, scope};
use overlay_packet::{checksum, ethernet, ip, transport};

use crate::flow;
use crate::xdp_underlay::{Seen, at};

/// Puts this node's address and `port` in the client's place. False if that port is no longer the client's; then tc takes
/// another one, and nothing is changed.
#[inline(always)]
pub fn hide(ctx: &XdpContext, seen: &Seen, port: u16) -> bool {
    let Some(at) = checksum_at(ctx, seen) else { return false };
    if !renew(seen, port) {
        return false;
    }
    let (from, to) = (seen.key.source, seen.key.destination);
    let difference = checksum::difference(from.words(), to.words());
    if seen.ethertype == ethernet::IPV4 {
        const AT: usize = ethernet::LEN;
        change(ctx, AT + 10, |sum| checksum::changed(sum, difference))
            && put(ctx, AT + 12, to.words()[3])
            && transport(ctx, seen, port, (AT + ip::V4_LEN, at), difference)
    } else {
        const AT: usize = ethernet::LEN;
        put(ctx, AT + 8, to.words()) && transport(ctx, seen, port, (AT + ip::V6_LEN, at), difference)
    }
}

/// Where TCP's or UDP's checksum is, if all before it is there, too.
#[inline(always)]
fn checksum_at(ctx: &XdpContext, seen: &Seen) -> Option<usize> {
    let length = if seen.ethertype == ethernet::IPV4 { ip::V4_LEN } else { ip::V6_LEN };
    let offset = match seen.key.protocol {
        ip::protocol::TCP => transport::tcp::CHECKSUM_AT,
        _ => transport::udp::CHECKSUM_AT,
    };
    let checksum = ethernet::LEN + length + offset;
    at::<u16>(ctx, checksum).map(|_| checksum)
}

/// Notes another packet of the flow whose answers come to the port, if that is the packet's.
#[inline(always)]
fn renew(seen: &Seen, port: u16) -> bool {
    let key = &seen.key;
    let asked = (key.destination, key.destination_port);
    let back = FlowKey::new(scope::SNAT_RETURN, 0, key.protocol, asked, (key.destination, port));
    match flow::find(&back) {
        Some(flow) if flow.port == key.source_port && flow.address == key.source => {
            flow::follow(flow, &seen.transport());
            true
        }
        _ => false,
    }
}

/// Changes the source port, and the checksum by that and by the addresses' difference.
#[inline(always)]
fn transport(
    ctx: &XdpContext,
    seen: &Seen,
    port: u16,
    (header, checksum): (usize, usize),
    difference: u64,
) -> bool {
    let (old, new) = (seen.key.source_port.to_be(), port.to_be());
    let difference = difference + u64::from(!old) + u64::from(new);
    let udp = seen.key.protocol == ip::protocol::UDP;
    put(ctx, header, new)
        && change(ctx, checksum, |sum| match checksum::changed(sum, difference) {
            // A datagram without a checksum stays without one, and no other seems to have none (RFC 768).
            _ if udp && sum == 0 => 0,
            0 if udp => 0xffff,
            sum => sum,
        })
}

#[inline(always)]
fn change(ctx: &XdpContext, offset: usize, by: impl FnOnce(u16) -> u16) -> bool {
    match at(ctx, offset) {
        Some(number) => put(ctx, offset, by(number)),
        None => false,
    }
}

/// Writes a number, if its place is there.
#[inline(always)]
fn put<T: Copy>(ctx: &XdpContext, offset: usize, number: T) -> bool {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return false;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    unsafe { *(start as *mut T) = number };
    true
}
