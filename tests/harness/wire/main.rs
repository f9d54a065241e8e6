//! What a port of the lab's switch runs so that it takes what XDP sends at the other end of its veth pair: frames without a
//! socket buffer wait in a ring, which only a device with a program, or with GRO, empties (drivers/net/veth.c).
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

#[xdp]
pub fn wire(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
