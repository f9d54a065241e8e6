//! The routing mesh before the kernel's own receive path: a client's packet whose backend is on a peer is wrapped and
//! sent on at once. All else passes, and with it what is rare: [`crate::mesh`] does it at the next hook, where local
//! backends are reached too.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use overlay_abi::services::{Backend, FlowKey, port_flag, scope};
use overlay_abi::{Address, DropReason, Node, gateway_mac};
use overlay_packet::{ethernet, ip, transport, vxlan};

use crate::hop::{self, Hop};
use crate::transport::Transport;
use crate::{maps, mesh};

/// What is read of a packet.
struct Seen {
    key: FlowKey,
    flags: u8,
    /// The inner packet's ECN field.
    ecn: u8,
    ethertype: u16,
    /// The packet's length with its Ethernet header, as it says itself.
    total: usize,
}

#[inline(always)]
pub fn run(ctx: &XdpContext) -> xdp_action::Type {
    let Some(seen) = see(ctx) else { return xdp_action::XDP_PASS };
    let Some((slot, backend)) = backend(&seen) else { return xdp_action::XDP_PASS };
    // SAFETY: the context is valid.
    let length = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
    if backend.ifindex != 0 || length - ethernet::LEN > usize::from(backend.mtu) || seen.total > length {
        return xdp_action::XDP_PASS;
    }
    let Some(node) = maps::node() else { return xdp_action::XDP_PASS };
    let Some(hop) = hop::to(&backend.vtep) else { return xdp_action::XDP_PASS };
    if !wrap(ctx, node, backend, &seen, length, hop) {
        maps::count(DropReason::EncapFailed);
        return xdp_action::XDP_DROP;
    }
    maps::count_sent(slot, 1, (length - ethernet::LEN) as u64);
    // Not XDP_TX, even back by the same device: a veth's peer takes what comes so only with a program of its own.
    // SAFETY: takes plain numbers.
    unsafe { bpf_redirect(node.underlay_ifindex, 0) as xdp_action::Type }
}

/// A number of the packet, if it is there. BPF reads at any address on the hosts that this runs on, whatever Rust says
/// of alignment.
#[inline(always)]
fn at<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    Some(unsafe { *(start as *const T) })
}

/// Reads a plain TCP or UDP packet for a published port.
#[inline(always)]
fn see(ctx: &XdpContext) -> Option<Seen> {
    const AT: usize = ethernet::LEN;
    let ethertype = u16::from_be(at(ctx, 12)?);
    match ethertype {
        ethernet::IPV4 => {
            // Version, length, and the ECN field; then whether it is a fragment.
            let [first, class]: [u8; 2] = at(ctx, AT)?;
            let fragment: u16 = at(ctx, AT + 6)?;
            if first != 0x45 || u16::from_be(fragment) & 0x3fff != 0 {
                return None;
            }
            let (protocol, ports, flags) = transport_at(ctx, at(ctx, AT + 9)?, AT + ip::V4_LEN)?;
            let source = Address::from_word4(at(ctx, AT + 12)?);
            let destination = Address::from_word4(at(ctx, AT + 16)?);
            let key = key(protocol, source, destination, ports);
            let total = AT + usize::from(u16::from_be(at(ctx, AT + 2)?));
            Some(Seen { key, flags, ecn: class & 3, ethertype, total })
        }
        ethernet::IPV6 => {
            let [first, second]: [u8; 2] = at(ctx, AT)?;
            if first >> 4 != 6 {
                return None;
            }
            let (protocol, ports, flags) = transport_at(ctx, at(ctx, AT + 6)?, AT + ip::V6_LEN)?;
            let source = Address::from_words(at(ctx, AT + 8)?);
            let destination = Address::from_words(at(ctx, AT + 24)?);
            let key = key(protocol, source, destination, ports);
            let total = AT + ip::V6_LEN + usize::from(u16::from_be(at(ctx, AT + 4)?));
            Some(Seen { key, flags, ecn: second >> 4 & 3, ethertype, total })
        }
        _ => None,
    }
}

/// The protocol, the ports as they are on the wire, and TCP's flags, if somebody publishes the port.
#[inline(always)]
fn transport_at(ctx: &XdpContext, protocol: u8, offset: usize) -> Option<(u8, [u16; 2], u8)> {
    let udp = match protocol {
        ip::protocol::TCP => false,
        ip::protocol::UDP => true,
        _ => return None,
    };
    let ports: [u16; 2] = at(ctx, offset)?;
    // What is translated is tc's.
    maps::port(udp, u16::from_be(ports[1])).filter(|port| port.flags & port_flag::SNAT == 0)?;
    let flags = if udp { 0 } else { at(ctx, offset + transport::tcp::FLAGS_AT)? };
    Some((protocol, ports, flags))
}

#[inline(always)]
fn key(protocol: u8, source: Address, destination: Address, [from, to]: [u16; 2]) -> FlowKey {
    FlowKey::new(scope::MESH, 0, protocol, (source, u16::from_be(from)), (destination, u16::from_be(to)))
}

/// The backend that the flow has, or gets, and its slot.
#[inline(always)]
fn backend(seen: &Seen) -> Option<(u32, &'static Backend)> {
    let transport = Transport {
        protocol: seen.key.protocol,
        at: 0,
        source_port: seen.key.source_port,
        destination_port: seen.key.destination_port,
        flags: seen.flags,
        ..Transport::default()
    };
    let slot = match mesh::known(&seen.key, &transport) {
        0 if maps::is_own(seen.key.destination) => mesh::choose(&seen.key, &transport),
        slot => slot,
    };
    maps::backend(slot).filter(|backend| backend.generation != 0).map(|backend| (slot, backend))
}

/// Writes all headers in front of the packet, the inner Ethernet header anew.
#[inline(always)]
fn wrap(ctx: &XdpContext, node: &Node, backend: &Backend, seen: &Seen, length: usize, hop: &Hop) -> bool {
    let key = &seen.key;
    let ports = u32::from(key.source_port) << 16 | u32::from(key.destination_port);
    let hash = transport::flow_hash(&key.source, &key.destination, ports, key.protocol);
    let outer = vxlan::Outer {
        source: node.vtep,
        destination: backend.vtep,
        source_port: vxlan::source_port(hash),
        destination_port: node.data_port,
        vni: backend.vni,
        ecn: seen.ecn,
        inner: length,
    };
    let inner = ethernet::Header {
        destination: backend.mac,
        source: gateway_mac(backend.vni),
        ethertype: seen.ethertype,
    };
    if node.vtep.is_v4() {
        write(ctx, vxlan::OUTER4_LEN, outer.v4(&inner), hop)
    } else {
        write(ctx, vxlan::OUTER6_LEN, outer.v6(&inner), hop)
    }
}

#[inline(always)]
fn write<const N: usize>(ctx: &XdpContext, room: usize, mut words: [u16; N], hop: &Hop) -> bool {
    words[..6].copy_from_slice(&hop.macs);
    // SAFETY: the context is valid.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(room as i32)) } != 0 {
        return false;
    }
    let start = ctx.data();
    if start + size_of::<[u16; N]>() > ctx.data_end() {
        return false;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    unsafe { *(start as *mut [u16; N]) = words };
    true
}
