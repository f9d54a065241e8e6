//! The BPF programs of the data path: each entry point turns its role's outcome into a verdict, and counts the
//! drop. The roles never decide on a verdict's number, and never count.
#![no_std]
#![no_main]

mod affinity;
mod egress;
mod encap;
mod extension;
mod flow;
mod fragment;
mod frame;
mod gateway;
mod headers;
mod hop;
mod maps;
#[cfg(feature = "bench")]
mod measured;
mod mesh;
mod mss;
mod nat;
mod neighbour;
mod receive;
mod related;
mod reply;
mod rewrite;
mod serve;
mod snat;
mod tc_endpoint;
mod tc_guard;
mod tc_local;
mod tc_overlay;
mod tc_underlay;
mod transport;
mod vip;
mod work;
mod xdp_answer;
mod xdp_packet;
mod xdp_snat;
mod xdp_underlay;

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

use frame::{Outcome, Verdict};

#[classifier]
pub fn tc_endpoint(ctx: TcContext) -> i32 {
    conclude(tc_endpoint::run(&ctx))
}

#[classifier]
pub fn tc_underlay(ctx: TcContext) -> i32 {
    conclude(tc_underlay::run(&ctx))
}

#[classifier]
pub fn tc_overlay(ctx: TcContext) -> i32 {
    conclude(tc_overlay::run(&ctx))
}

#[classifier]
pub fn tc_guard(ctx: TcContext) -> i32 {
    conclude(tc_guard::run(&ctx))
}

#[classifier]
pub fn tc_local(ctx: TcContext) -> i32 {
    conclude(tc_local::run(&ctx))
}

#[xdp(frags)]
pub fn xdp_underlay(ctx: XdpContext) -> u32 {
    xdp_underlay::run(&ctx)
}

/// The only place that knows the kernel's numbers. "Unspecified" is tcx's "next": other programs still run.
#[inline(always)]
fn conclude(outcome: Outcome) -> i32 {
    match outcome {
        Ok(Verdict::Pass) => TC_ACT_UNSPEC,
        Ok(Verdict::Redirect) => TC_ACT_REDIRECT as i32,
        Err(reason) => {
            maps::count(reason);
            TC_ACT_SHOT as i32
        }
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
