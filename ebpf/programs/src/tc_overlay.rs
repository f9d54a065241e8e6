//! What the VXLAN device unpacked: the same checks and delivery as on the underlay. Nothing else passes on
//! from that device.

use aya_ebpf::bindings::{BPF_F_TUNINFO_IPV6, bpf_tunnel_key};
use aya_ebpf::helpers::bpf_skb_get_tunnel_key;
use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, DropReason};

use crate::frame::{self, Outcome, Verdict};
use crate::receive::{self, Kind};
use crate::{maps, serve, snat, vip};

/// The tunnel's ends.
struct Tunnel {
    vni: u32,
    remote: Address,
    local: Address,
}

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    let node = maps::node().ok_or(DropReason::NoNode)?;
    let tunnel = tunnel(ctx, node.vtep.is_v4())?;
    if tunnel.local != node.vtep {
        return Err(DropReason::NotOurVtep);
    }
    // Local processes and containers reach the data port without passing tc_underlay, from any address they make up.
    if !frame::is_seen(ctx) {
        return Err(DropReason::NotFromUnderlay);
    }
    // The kernel takes a tag off before this hook and keeps it beside the frame.
    if frame::skb(ctx).vlan_present != 0 {
        return Err(DropReason::Vlan);
    }
    let work = maps::work().ok_or(DropReason::NoNode)?;
    work.begin();
    let inner = receive::check(ctx, work, 0, tunnel.vni, &tunnel.remote)?;
    let changed = match inner.kind {
        Kind::Inside => vip::restore(ctx, work, tunnel.vni)?,
        Kind::Question => {
            serve::land(ctx, work, tunnel.vni, inner.slot, &tunnel.remote)?;
            true
        }
        Kind::Answer => {
            snat::give_back(ctx, work, tunnel.vni, &tunnel.remote)?;
            return Ok(Verdict::Redirect);
        }
    };
    if changed {
        work.headers.write(ctx)?;
    }
    // The VXLAN device has already carried congestion marks over.
    Ok(frame::deliver_to(ctx, inner.ifindex))
}

/// The tunnel's key, asked for in the underlay's family: of a tunnel of the other one there is none. A function of its own,
/// so that what comes after has the stack to itself.
#[inline(never)]
fn tunnel(ctx: &TcContext, v4: bool) -> Result<Tunnel, DropReason> {
    // SAFETY: all zero is a valid key.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    let flags = if v4 { 0 } else { u64::from(BPF_F_TUNINFO_IPV6) };
    // SAFETY: the context is valid, and the key has the size that is told.
    let result = unsafe {
        bpf_skb_get_tunnel_key(ctx.skb.skb, &raw mut key, size_of::<bpf_tunnel_key>() as u32, flags)
    };
    if result != 0 {
        return Err(DropReason::NoTunnelKey);
    }
    // SAFETY: the key is initialized as a whole, and any bytes are valid in each of its unions' members.
    let (remote4, remote6, local4, local6) = unsafe {
        (
            key.__bindgen_anon_1.remote_ipv4,
            key.__bindgen_anon_1.remote_ipv6,
            key.__bindgen_anon_3.local_ipv4,
            key.__bindgen_anon_3.local_ipv6,
        )
    };
    // The kernel gives IPv4 addresses as numbers in host byte order, but IPv6 ones as they are on the wire.
    Ok(if v4 {
        Tunnel {
            vni: key.tunnel_id,
            remote: Address::v4(remote4.to_be_bytes()),
            local: Address::v4(local4.to_be_bytes()),
        }
    } else {
        Tunnel { vni: key.tunnel_id, remote: wire(remote6), local: wire(local6) }
    })
}

#[inline(always)]
fn wire(words: [u32; 4]) -> Address {
    // SAFETY: both are 16 bytes of plain numbers.
    Address(unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) })
}
