//! The switch between the machines: see `floor/switch.rs`.

use anyhow::{Context as _, Result};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use overlay_harness::Netns;

use crate::floors;
use crate::paths::UNDERLAY;

/// Has a bridge's ports forward between these machines by themselves. Each is named with its port.
pub(super) fn attach(bridge: &Netns, machines: [(&str, &Netns); 3]) -> Result<Ebpf> {
    let (mut macs, mut devices) = ([[0u8; 6]; 3], [0; 3]);
    for (place, (port, machine)) in machines.into_iter().enumerate() {
        macs[place] = mac(machine)?;
        devices[place] = bridge.run(|| Ok(if_nametoindex(port)?))?;
    }
    let mut ebpf = EbpfLoader::new()
        .override_global("MACS", &macs, true)
        .override_global("DEVICES", &devices, true)
        .load(floors::PROGRAMS)?;
    let program: &mut Xdp = ebpf.program_mut("switch").context("the switch is missing")?.try_into()?;
    program.load()?;
    for (port, _) in machines {
        bridge.run(|| program.attach(port, XdpMode::Driver).with_context(|| port.to_owned()).map(drop))?;
    }
    Ok(ebpf)
}

/// Of a machine's underlay device.
fn mac(machine: &Netns) -> Result<[u8; 6]> {
    machine.run(|| {
        let mut links = getifaddrs()?.filter(|address| address.interface_name == UNDERLAY);
        let mac = links.find_map(|link| link.address?.as_link_addr()?.addr());
        mac.context("the underlay's device has no MAC address")
    })
}
