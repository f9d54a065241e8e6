//! The routing mesh before the kernel's own receive path: a client's packet whose backend is on a peer is wrapped and
//! sent on at once. All else passes, and with it what is rare: [`crate::mesh`] does it at the next hook, where local
//! backends are reached too.

use core::ptr::copy_nonoverlapping;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use overlay_abi::services::{Backend, FlowKey, scope};
use overlay_abi::{Address, DropReason, gateway_mac};
use overlay_packet::{checksum, ethernet, ip, transport, vxlan};

use crate::hop::{self, Hop};
use crate::transport::Transport;
use crate::{flow, maps, mesh, xdp_snat};

/// Where the outer IP header is.
const IP_AT: usize = ethernet::LEN;

/// What is read of a packet.
pub struct Seen {
    pub key: FlowKey,
    pub flags: u8,
    /// The inner packet's ECN field.
    ecn: u8,
    pub ethertype: u16,
    /// The packet's length with its Ethernet header, as it says itself.
    total: usize,
    /// Whether new flows of the port are hidden.
    hidden: bool,
}

/// Who takes the packet.
struct Chosen {
    slot: u32,
    backend: &'static Backend,
    /// The port that stands for the client, or 0.
    stands_for: u16,
}

#[inline(always)]
pub fn run(ctx: &XdpContext) -> xdp_action::Type {
    // Twice all that follows, for the compiler knows most of an IPv4 address.
    let sent_on = match at(ctx, 12).map(u16::from_be) {
        Some(ethernet::IPV4) => see4(ctx).and_then(|seen| send_on(ctx, &seen)),
        Some(ethernet::IPV6) => see6(ctx).and_then(|seen| send_on(ctx, &seen)),
        _ => None,
    };
    sent_on.unwrap_or(xdp_action::XDP_PASS)
}

/// Sends it to its backend's node, if it has one.
#[inline(always)]
fn send_on(ctx: &XdpContext, seen: &Seen) -> Option<xdp_action::Type> {
    let now = flow::now();
    let Chosen { slot, backend, stands_for } = choose(seen, now)?;
    let length = seen.total - ethernet::LEN;
    if backend.ifindex != 0 || length > usize::from(backend.mtu) || !is_whole(ctx, seen.total) {
        return None;
    }
    let node = maps::node()?;
    let hop = hop::to(&backend.vtep, now)?;
    if stands_for != 0 && !xdp_snat::hide(ctx, seen, stands_for) {
        return None;
    }
    let wrapped = match node.vtep.is_v4() {
        true => wrap::<true>(ctx, backend, seen, hop),
        false => wrap::<false>(ctx, backend, seen, hop),
    };
    if !wrapped {
        maps::count(DropReason::EncapFailed);
        return Some(xdp_action::XDP_DROP);
    }
    maps::count_sent(slot, 1, length as u64);
    // Not XDP_TX, even back by the same device: a veth's peer takes what comes so only with a program of its own.
    // SAFETY: takes plain numbers.
    Some(unsafe { bpf_redirect(node.underlay_ifindex, 0) as xdp_action::Type })
}

/// Whether all of a packet of that length, with its Ethernet header, is there. What is behind it only fills the frame.
#[inline(always)]
fn is_whole(ctx: &XdpContext, total: usize) -> bool {
    // SAFETY: the context is valid.
    ctx.data_end() - ctx.data() >= total || unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize >= total
}

/// A number of the packet, if it is there. BPF reads at any address on the hosts that this runs on, whatever Rust says
/// of alignment.
#[inline(always)]
pub fn at<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    Some(unsafe { *(start as *const T) })
}

/// Reads a plain TCP or UDP packet for a published port.
#[inline(always)]
fn see4(ctx: &XdpContext) -> Option<Seen> {
    // Version, length, and the ECN field; then whether it is a fragment.
    let [first, class]: [u8; 2] = at(ctx, IP_AT)?;
    let fragment: u16 = at(ctx, IP_AT + 6)?;
    if first != 0x45 || u16::from_be(fragment) & 0x3fff != 0 {
        return None;
    }
    let (protocol, ports, flags, hidden) = transport_at(ctx, at(ctx, IP_AT + 9)?, IP_AT + ip::V4_LEN)?;
    let source = Address::v4_quad(at(ctx, IP_AT + 12)?);
    let destination = Address::v4_quad(at(ctx, IP_AT + 16)?);
    let total = IP_AT + usize::from(u16::from_be(at(ctx, IP_AT + 2)?));
    let key = key(protocol, source, destination, ports);
    Some(Seen { key, flags, ecn: class & 3, ethertype: ethernet::IPV4, total, hidden })
}

#[inline(always)]
fn see6(ctx: &XdpContext) -> Option<Seen> {
    let [first, second]: [u8; 2] = at(ctx, IP_AT)?;
    if first >> 4 != 6 {
        return None;
    }
    let (protocol, ports, flags, hidden) = transport_at(ctx, at(ctx, IP_AT + 6)?, IP_AT + ip::V6_LEN)?;
    let source = Address::from_quads(at(ctx, IP_AT + 8)?);
    let destination = Address::from_quads(at(ctx, IP_AT + 24)?);
    let total = IP_AT + ip::V6_LEN + usize::from(u16::from_be(at(ctx, IP_AT + 4)?));
    let key = key(protocol, source, destination, ports);
    Some(Seen { key, flags, ecn: second >> 4 & 3, ethertype: ethernet::IPV6, total, hidden })
}

/// The protocol, the ports as they are on the wire, TCP's flags, and whether clients are hidden, if somebody publishes the
/// port.
#[inline(always)]
fn transport_at(ctx: &XdpContext, protocol: u8, offset: usize) -> Option<(u8, [u16; 2], u8, bool)> {
    let udp = match protocol {
        ip::protocol::TCP => false,
        ip::protocol::UDP => true,
        _ => return None,
    };
    let ports: [u16; 2] = at(ctx, offset)?;
    let hidden = mesh::is_hidden(maps::port(udp, u16::from_be(ports[1]))?);
    let flags = if udp { 0 } else { at(ctx, offset + transport::tcp::FLAGS_AT)? };
    Some((protocol, ports, flags, hidden))
}

#[inline(always)]
fn key(protocol: u8, source: Address, destination: Address, [from, to]: [u16; 2]) -> FlowKey {
    FlowKey::new(scope::MESH, 0, protocol, (source, u16::from_be(from)), (destination, u16::from_be(to)))
}

/// The backend that the flow has, or gets.
#[inline(always)]
fn choose(seen: &Seen, now: u64) -> Option<Chosen> {
    let transport = seen.transport();
    let (slot, stands_for) = match mesh::known(&seen.key, &transport, now) {
        // A port that stands for a client is taken in tc.
        (0, _) if !seen.hidden && maps::is_own(seen.key.destination) => {
            (mesh::choose(&seen.key, &transport, false), 0)
        }
        known => known,
    };
    let backend = maps::backend(slot).filter(|backend| backend.generation != 0)?;
    Some(Chosen { slot, backend, stands_for })
}

impl Seen {
    /// As far as flows need it.
    #[inline(always)]
    pub fn transport(&self) -> Transport {
        Transport {
            protocol: self.key.protocol,
            at: 0,
            source_port: self.key.source_port,
            destination_port: self.key.destination_port,
            flags: self.flags,
            ..Transport::default()
        }
    }
}

/// Puts all headers in front of the packet, and its Ethernet header anew: the hop has them but for what differs from one
/// packet to another.
#[inline(always)]
fn wrap<const V4: bool>(ctx: &XdpContext, backend: &Backend, seen: &Seen, hop: &Hop) -> bool {
    let room = if V4 { vxlan::OUTER4_LEN } else { vxlan::OUTER6_LEN };
    // SAFETY: the context is valid.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(room as i32)) } != 0 {
        return false;
    }
    let start = ctx.data();
    if start + room + ethernet::LEN > ctx.data_end() {
        return false;
    }
    // SAFETY: what is written lies between the data's start and end, as the comparison showed the verifier, and in no map.
    // The headers are aligned for the words by which they are copied, and the packet needs not be.
    unsafe {
        let headers = hop.headers.as_ptr();
        if V4 {
            copy_nonoverlapping(headers.cast::<u64>(), start as *mut u64, vxlan::HEADERS4 / 4);
        } else {
            copy_nonoverlapping(headers.cast::<u32>(), start as *mut u32, vxlan::HEADERS6 / 2);
        }
    }
    let put = |at: usize, word: u16| {
        // SAFETY: every place is one of the headers', which were just written.
        unsafe { *((start + at) as *mut u16) = word };
    };
    // As the header in front of it counts it: from there to the packet's end.
    let length = |from: usize| ((room + seen.total - from) as u16).to_be();
    let known = |at: usize| hop.headers[at / 2];
    if V4 {
        let (first, total) = (u16::from_ne_bytes([0x45, seen.ecn]), length(IP_AT));
        let checksum = checksum::update(known(IP_AT + 10), known(IP_AT), first);
        put(IP_AT, first);
        put(IP_AT + 2, total);
        put(IP_AT + 10, checksum::update(checksum, known(IP_AT + 2), total));
    } else {
        put(IP_AT, u16::from_ne_bytes([0x60, seen.ecn << 4]));
        put(IP_AT + 4, length(IP_AT + ip::V6_LEN));
    }
    let (key, udp) = (&seen.key, room - vxlan::LEN - vxlan::UDP_LEN);
    let ports = u32::from(key.source_port) << 16 | u32::from(key.destination_port);
    let hash = transport::quick_hash(&key.source, &key.destination, ports);
    put(udp, vxlan::source_port(hash).to_be());
    put(udp + 4, length(udp));
    let [_, high, middle, low] = backend.vni.to_be_bytes();
    put(room - 4, u16::from_ne_bytes([high, middle]));
    put(room - 2, u16::from_ne_bytes([low, 0]));
    let inner = ethernet::Header {
        destination: backend.mac,
        source: gateway_mac(backend.vni),
        ethertype: seen.ethertype,
    };
    for (n, word) in inner.words().into_iter().enumerate() {
        put(room + 2 * n, word);
    }
    true
}
