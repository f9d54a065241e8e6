//! The least that tc programs can do to carry IPv4 packets of two endpoints through a VXLAN tunnel, by the same helpers
//! of the kernel as the overlay's: no lookup, no check, no counter, no care for the MTU or ECN. All that they need to
//! know is set as they are loaded. For the bench alone: whatever comes in is believed.
#![no_std]
#![no_main]

mod published;
mod switch;

use aya_ebpf::Global;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC,
};
use aya_ebpf::helpers::{bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use overlay_packet::{checksum, ethernet, ip, vxlan};

/// The underlay's device.
#[unsafe(no_mangle)]
static UNDERLAY: Global<u32> = Global::new(0);
/// The host's end of the endpoint's veth pair.
#[unsafe(no_mangle)]
static HOST_END: Global<u32> = Global::new(0);
/// All headers in front of an endpoint's IP packet as they leave for the underlay, in words of the wire's order. The
/// source port and the lengths are 0, as they are in the checksum.
#[unsafe(no_mangle)]
static SENT: Global<[u16; HEADERS]> = Global::new([0; HEADERS]);
/// The Ethernet header of what the endpoint receives, likewise.
#[unsafe(no_mangle)]
static DELIVERED: Global<[u16; ETHERNET]> = Global::new([0; ETHERNET]);

const ETHERNET: usize = ethernet::LEN / 2;
const HEADERS: usize = vxlan::OUTER4_LEN / 2 + ETHERNET;
/// Where in them.
const IP_LENGTH: usize = 8;
const IP_CHECKSUM: usize = 12;
const SOURCE_PORT: usize = 17;
const UDP_LENGTH: usize = 19;

const DATA_PORT: u16 = 4789;
/// What the kernel calls a packet to a broadcast or multicast MAC address (linux/if_packet.h).
const GROUPS: [u32; 2] = [1, 2];

const ROOM: i32 = vxlan::OUTER4_LEN as i32;
const BPF_ADJ_ROOM_MAC: u32 = 1;
const ENCAP: u64 = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 as u64
    | BPF_F_ADJ_ROOM_ENCAP_L4_UDP as u64
    | BPF_F_ADJ_ROOM_ENCAP_L2_ETH as u64
    | BPF_F_ADJ_ROOM_FIXED_GSO as u64
    | (ethernet::LEN as u64) << 56;
const DECAP: u64 = BPF_F_ADJ_ROOM_DECAP_L3_IPV4 as u64 | BPF_F_ADJ_ROOM_FIXED_GSO as u64;

/// What an endpoint sends: into the tunnel.
#[classifier]
pub fn floor_send(ctx: TcContext) -> i32 {
    let skb = skb(&ctx);
    if !is_ipv4(skb) || GROUPS.contains(&skb.pkt_type) {
        return TC_ACT_UNSPEC;
    }
    if wrap(&ctx) { send_out() } else { TC_ACT_SHOT as i32 }
}

/// What arrives on the underlay: what came through the tunnel goes to the endpoint.
#[classifier]
pub fn floor_receive(ctx: TcContext) -> i32 {
    if !is_ipv4(skb(&ctx)) || !is_vxlan(&ctx) {
        return TC_ACT_UNSPEC;
    }
    if unwrap(&ctx) { deliver() } else { TC_ACT_SHOT as i32 }
}

/// Puts all headers in front.
#[inline(always)]
fn wrap(ctx: &TcContext) -> bool {
    let skb = skb(ctx);
    let mut headers = SENT.load();
    let length = length_with(skb, ip::V4_LEN + vxlan::UDP_LEN + vxlan::LEN);
    headers[IP_LENGTH] = length;
    headers[IP_CHECKSUM] = checksum::update(headers[IP_CHECKSUM], 0, length);
    headers[SOURCE_PORT] = vxlan::source_port(skb.hash).to_be();
    headers[UDP_LENGTH] = length_with(skb, vxlan::UDP_LEN + vxlan::LEN);
    ctx.adjust_room(ROOM, BPF_ADJ_ROOM_MAC, ENCAP).is_ok() && ctx.store(0, &headers, 0).is_ok()
}

/// Takes them off.
#[inline(always)]
fn unwrap(ctx: &TcContext) -> bool {
    ctx.adjust_room(-ROOM, BPF_ADJ_ROOM_MAC, DECAP).is_ok() && ctx.store(0, &DELIVERED.load(), 0).is_ok()
}

/// Whether an IPv4 packet is VXLAN.
#[inline(always)]
fn is_vxlan(ctx: &TcContext) -> bool {
    const UDP: usize = ethernet::LEN + ip::V4_LEN;
    let [protocol] = read::<[u8; 1]>(ctx, ethernet::LEN + 9).unwrap_or_default();
    let port = read::<[u8; 2]>(ctx, UDP + 2).unwrap_or_default();
    protocol == ip::protocol::UDP && u16::from_be_bytes(port) == DATA_PORT
}

#[inline(always)]
fn send_out() -> i32 {
    // SAFETY: plain numbers and no parameters: the kernel finds the next hop by the destination.
    unsafe { bpf_redirect_neigh(UNDERLAY.load(), core::ptr::null_mut(), 0, 0) };
    TC_ACT_REDIRECT as i32
}

#[inline(always)]
fn deliver() -> i32 {
    // SAFETY: takes plain numbers.
    unsafe { bpf_redirect_peer(HOST_END.load(), 0) };
    TC_ACT_REDIRECT as i32
}

#[inline(always)]
fn skb(ctx: &TcContext) -> &__sk_buff {
    // SAFETY: the kernel hands every program a valid context.
    unsafe { &*ctx.skb.skb }
}

#[inline(always)]
fn is_ipv4(skb: &__sk_buff) -> bool {
    skb.protocol == u32::from(ethernet::IPV4.to_be())
}

/// The frame's length with that of `headers`, as on the wire. 0 where it does not fit: what is that long, the kernel has
/// yet to cut into segments, and it then writes theirs.
#[inline(always)]
fn length_with(skb: &__sk_buff, headers: usize) -> u16 {
    u16::try_from(skb.len as usize + headers).unwrap_or(0).to_be()
}

/// Reads at a byte offset from the start of the frame, without a helper's call.
#[inline(always)]
fn read<T: Copy>(ctx: &TcContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies within the packet's linear data, as was just compared.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
