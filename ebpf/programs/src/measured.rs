//! What the bench times: the work of a program, for a packet that is put back first as it was, so that the kernel can
//! run it over and over. No part of the data path.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_get_buff_len};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use overlay_packet::{Address, ethernet, vxlan};

use crate::xdp_underlay;

/// The frame's length: the smallest on a wire, without its checksum.
const LENGTH: i32 = 60;
/// In an IPv4 packet: its source address, and TCP's or UDP's ports.
const SOURCE_AT: usize = ethernet::LEN + 12;
const PORTS_AT: usize = ethernet::LEN + 20;
/// As many flows as a client's address has.
const PORTS: u32 = 1 << 15;

/// Which packets come, in turn.
#[repr(C)]
struct Turns {
    /// How many flows there are.
    flows: u32,
    /// The next one.
    next: u32,
    /// The first port that they go to.
    port: u32,
    /// To how many ports.
    ports: u32,
}

#[map]
static TURNS: Array<Turns> = Array::with_max_entries(1, 0);

/// Nothing but the turn: what all others take as well.
#[xdp(frags)]
pub fn measured_pass(ctx: XdpContext) -> u32 {
    measured(&ctx, |_| xdp_action::XDP_PASS)
}

#[xdp(frags)]
pub fn measured_tx(ctx: XdpContext) -> u32 {
    measured(&ctx, |_| xdp_action::XDP_TX)
}

/// The least that sends a packet to another node: headers that are known beforehand, and no look at the packet.
#[xdp(frags)]
pub fn measured_encapsulation(ctx: XdpContext) -> u32 {
    measured(&ctx, |ctx| encapsulate(ctx).unwrap_or(xdp_action::XDP_ABORTED))
}

/// The real one.
#[xdp(frags)]
pub fn measured_underlay(ctx: XdpContext) -> u32 {
    measured(&ctx, xdp_underlay::run)
}

#[inline(always)]
fn measured(ctx: &XdpContext, work: impl FnOnce(&XdpContext) -> u32) -> u32 {
    if turn(ctx).is_none() { xdp_action::XDP_ABORTED } else { work(ctx) }
}

/// Takes off what the last turn put in front, and makes the packet one of the next flow.
#[inline(always)]
fn turn(ctx: &XdpContext) -> Option<()> {
    // SAFETY: the context is valid.
    let grown = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as i32 - LENGTH;
    // SAFETY: the same.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, grown) } != 0 {
        return None;
    }
    // SAFETY: the map's memory; no other program runs here.
    let turns = unsafe { &mut *TURNS.get_ptr_mut(0)? };
    let flow = turns.next;
    turns.next = if flow + 1 < turns.flows { flow + 1 } else { 0 };
    let client = [198, 18, (flow / PORTS) as u8, 7];
    store(ctx, SOURCE_AT, client)?;
    let to = turns.port + if turns.ports > 1 { flow % turns.ports } else { 0 };
    store(ctx, PORTS_AT, [(PORTS + flow % PORTS) as u16, to as u16].map(u16::to_be))
}

#[inline(always)]
fn encapsulate(ctx: &XdpContext) -> Option<u32> {
    let outer = vxlan::Outer {
        source: Address::v4([192, 0, 2, 1]),
        destination: Address::v4([192, 0, 2, 2]),
        source_port: 50_000,
        destination_port: 4789,
        vni: 100,
        ecn: 0,
        inner: LENGTH as usize,
    };
    let inner = ethernet::Header::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], ethernet::IPV4);
    // SAFETY: the context is valid.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(vxlan::OUTER4_LEN as i32)) } != 0 {
        return None;
    }
    store(ctx, 0, outer.v4(&inner))?;
    // SAFETY: takes plain numbers.
    Some(unsafe { bpf_redirect(1, 0) } as u32)
}

#[inline(always)]
fn store<T: Copy>(ctx: &XdpContext, at: usize, value: T) -> Option<()> {
    let start = ctx.data() + at;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    unsafe { *(start as *mut T) = value };
    Some(())
}
