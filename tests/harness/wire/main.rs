//! What a port of the lab's switch runs so that it takes what XDP sends at the other end of its veth pair: the kernel
//! wakes the receiver of that only where the receiver has a program, too (`veth_xdp_flush`, drivers/net/veth.c).
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
