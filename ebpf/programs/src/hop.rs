//! The next hops to peers, as XDP needs them, which no neighbour table is open to: [`crate::tc_guard`] reads them off the
//! packets that the kernel itself addressed, so routes and neighbours are the kernel's business alone. XDP uses what it
//! learnt for half a second, and before that ends it leaves a packet to tc, by which the guard learns anew.
//!
//! Nothing is learnt while XDP wants nothing.

use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, Node};
use overlay_packet::{ethernet, vxlan};

use crate::{flow, frame, maps};

/// More than there are peers by far, as those that meet in a place take turns.
pub const HOPS_SIZE: u32 = 1 << 15;

const MILLISECOND: u64 = 1_000_000;
/// For how long a hop is used.
const LIFE: u64 = 500 * MILLISECOND;
/// From which age on it is renewed.
const RENEWAL: u64 = 250 * MILLISECOND;
/// How much time there is between two packets that are to renew it.
const PATIENCE: u64 = 20 * MILLISECOND;
/// For how long after XDP wanted a hop the guard learns. tc may wait for a neighbour's answer meanwhile.
const WANTED_LIFE: u64 = 1000 * MILLISECOND;

/// The way to a VTEP, by the underlay device. Times are in nanoseconds since the host's boot.
#[repr(C, align(8))]
pub struct Hop {
    /// When it was learnt.
    learnt: u64,
    /// When XDP last left a packet to tc to have it renewed.
    asked: u64,
    vtep: Address,
    /// All headers of a packet there, without what differs from one to another: its lengths are those of no packet at all, and
    /// the ports' first, the VNI, ECN, and the inner Ethernet header are zero. IPv4's end before the array does.
    pub headers: [u16; vxlan::HEADERS6],
}

/// The way to a VTEP, for XDP; none where tc shall send the packet.
#[inline(always)]
pub fn to(vtep: &Address, now: u64) -> Option<&'static Hop> {
    let hop = maps::hop(vtep)?;
    let age = now.wrapping_sub(hop.learnt);
    if hop.vtep == *vtep && (age < RENEWAL || age < LIFE && now.wrapping_sub(hop.asked) < PATIENCE) {
        return Some(hop);
    }
    hop.asked = now;
    *maps::wanted()? = now;
    None
}

/// Learns from a packet of ours that leaves.
#[inline(always)]
pub fn learn(ctx: &TcContext, node: &Node) {
    if maps::wanted().is_some_and(|wanted| *wanted != 0) {
        learn_wanted(ctx, node);
    }
}

#[inline(never)]
fn learn_wanted(ctx: &TcContext, node: &Node) -> Option<()> {
    let now = flow::now();
    if now.wrapping_sub(*maps::wanted()?) > WANTED_LIFE {
        return None;
    }
    let vtep = if node.vtep.is_v4() {
        Address::v4(frame::load(ctx, ethernet::LEN + 16).ok()?)
    } else {
        Address(frame::load(ctx, ethernet::LEN + 24).ok()?)
    };
    let hop = maps::hop(&vtep)?;
    let age = now.wrapping_sub(hop.learnt);
    // Two peers that share the place would only keep each other from it.
    if hop.vtep != vtep && age < LIFE {
        return None;
    }
    // Else every packet would take the memory from the other CPUs.
    let macs: [u16; 6] = words(&frame::load(ctx, 0).ok()?);
    if hop.vtep == vtep && hop.headers[..6] == macs && age < RENEWAL {
        return None;
    }
    if node.vtep.is_v4() {
        fill4(hop, node, vtep)
    } else {
        fill6(hop, node, vtep)
    }
    hop.headers[..6].copy_from_slice(&macs);
    (hop.vtep, hop.learnt) = (vtep, now);
    Some(())
}

fn words(bytes: &[u8; 12]) -> [u16; 6] {
    core::array::from_fn(|n| u16::from_ne_bytes([bytes[2 * n], bytes[2 * n + 1]]))
}

#[inline(never)]
fn fill4(hop: &mut Hop, node: &Node, vtep: Address) {
    let headers = outer(node, vtep).v4(&NO_INNER);
    hop.headers[..vxlan::HEADERS4].copy_from_slice(&headers);
}

#[inline(never)]
fn fill6(hop: &mut Hop, node: &Node, vtep: Address) {
    hop.headers = outer(node, vtep).v6(&NO_INNER);
}

const NO_INNER: ethernet::Header = ethernet::Header { destination: [0; 6], source: [0; 6], ethertype: 0 };

#[inline(always)]
fn outer(node: &Node, vtep: Address) -> vxlan::Outer {
    vxlan::Outer {
        source: node.vtep,
        destination: vtep,
        source_port: 0,
        destination_port: node.data_port,
        vni: 0,
        ecn: 0,
        inner: 0,
    }
}
