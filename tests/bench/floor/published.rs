//! The least for a published port whose one client is hidden from its one backend: both ways, what is put in whose place is
//! known beforehand.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use overlay_packet::{ethernet, ip, transport};

use crate::{deliver, is_ipv4, is_vxlan, read, send_out, skb, unwrap, wrap};

/// The addresses of the client, of the node that it asks, and of the backend, in the order of the wire.
#[unsafe(no_mangle)]
static CLIENT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static ASKED: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static BACKEND: Global<u32> = Global::new(0);
/// The published port and the backend's, likewise.
#[unsafe(no_mangle)]
static PUBLISHED: Global<u16> = Global::new(0);
#[unsafe(no_mangle)]
static TARGET: Global<u16> = Global::new(0);

/// Where they are in a frame.
const PROTOCOL: usize = ethernet::LEN + 9;
const IP_CHECKSUM: usize = ethernet::LEN + 10;
const SOURCE: usize = ethernet::LEN + 12;
const DESTINATION: usize = ethernet::LEN + 16;
const TRANSPORT: usize = ethernet::LEN + ip::V4_LEN;

/// What arrives at the node that is asked: a question goes into the tunnel, and an answer to the client.
#[classifier]
pub fn floor_asked(ctx: TcContext) -> i32 {
    if !is_ipv4(skb(&ctx)) {
        return TC_ACT_UNSPEC;
    }
    let sent = if is_vxlan(&ctx) {
        unwrap(&ctx) && readdress(&ctx, DESTINATION, [ASKED.load(), CLIENT.load()])
    } else if read(&ctx, TRANSPORT + 2) == Some(PUBLISHED.load()) {
        readdress(&ctx, SOURCE, [CLIENT.load(), ASKED.load()]) && wrap(&ctx)
    } else {
        return TC_ACT_UNSPEC;
    };
    if sent { send_out() } else { TC_ACT_SHOT as i32 }
}

/// What arrives at the backend's node.
#[classifier]
pub fn floor_land(ctx: TcContext) -> i32 {
    if !is_ipv4(skb(&ctx)) || !is_vxlan(&ctx) {
        return TC_ACT_UNSPEC;
    }
    let landed = unwrap(&ctx)
        && readdress(&ctx, DESTINATION, [ASKED.load(), BACKEND.load()])
        && renumber(&ctx, TRANSPORT + 2, [PUBLISHED.load(), TARGET.load()]);
    if landed { deliver() } else { TC_ACT_SHOT as i32 }
}

/// What the backend sends.
#[classifier]
pub fn floor_answer(ctx: TcContext) -> i32 {
    if !is_ipv4(skb(&ctx)) {
        return TC_ACT_UNSPEC;
    }
    let sent = readdress(&ctx, SOURCE, [BACKEND.load(), ASKED.load()])
        && renumber(&ctx, TRANSPORT, [TARGET.load(), PUBLISHED.load()])
        && wrap(&ctx);
    if sent { send_out() } else { TC_ACT_SHOT as i32 }
}

/// Puts one address in another one's place.
#[inline(always)]
fn readdress(ctx: &TcContext, at: usize, [old, new]: [u32; 2]) -> bool {
    let (at_sum, flags) = checksum(ctx);
    let (from, to) = (u64::from(old), u64::from(new));
    ctx.l3_csum_replace(IP_CHECKSUM, from, to, 4).is_ok()
        && ctx.l4_csum_replace(at_sum, from, to, flags | u64::from(BPF_F_PSEUDO_HDR) | 4).is_ok()
        && ctx.store(at, &new, 0).is_ok()
}

/// Puts one port in another one's place.
#[inline(always)]
fn renumber(ctx: &TcContext, at: usize, [old, new]: [u16; 2]) -> bool {
    let (at_sum, flags) = checksum(ctx);
    ctx.l4_csum_replace(at_sum, u64::from(old), u64::from(new), flags | 2).is_ok()
        && ctx.store(at, &new, 0).is_ok()
}

/// Where TCP's or UDP's checksum is, and the helper's flags for it.
#[inline(always)]
fn checksum(ctx: &TcContext) -> (usize, u64) {
    match read(ctx, PROTOCOL) {
        Some(ip::protocol::UDP) => (TRANSPORT + transport::udp::CHECKSUM_AT, u64::from(BPF_F_MARK_MANGLED_0)),
        _ => (TRANSPORT + transport::tcp::CHECKSUM_AT, 0),
    }
}
