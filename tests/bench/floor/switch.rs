//! A switch that costs next to nothing: each port hands a frame straight to the port that its destination's MAC address is
//! behind. What a machine receives is as from a network card: a frame without a socket buffer, with its checksums whole.

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// How many machines there are.
const PORTS: usize = 3;

/// Their MAC addresses, and their ports.
#[unsafe(no_mangle)]
static MACS: Global<[[u16; 3]; PORTS]> = Global::new([[0; 3]; PORTS]);
#[unsafe(no_mangle)]
static DEVICES: Global<[u32; PORTS]> = Global::new([0; PORTS]);

/// Broadcast and what is for nobody is the bridge's.
#[xdp]
pub fn switch(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + size_of::<[u16; 3]>() > ctx.data_end() {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: it lies within the frame, as was just compared.
    let destination = unsafe { (start as *const [u16; 3]).read_unaligned() };
    let (macs, devices) = (MACS.load(), DEVICES.load());
    for port in 0..PORTS {
        if macs[port] == destination {
            // SAFETY: takes plain numbers.
            return unsafe { bpf_redirect(devices[port], 0) } as u32;
        }
    }
    xdp_action::XDP_PASS
}
