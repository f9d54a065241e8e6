//! What both ways in from the underlay check alike: the sending node is a live peer, it owns the inner source,
//! and the inner destination is here.

use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, DropReason, gateway_mac};
use overlay_packet::{ethernet, ip};

use crate::work::{self, Work};
use crate::{frame, maps};

/// A frame that may be delivered.
pub struct Inner {
    /// The host's end of the destination's veth pair; 0 where the packet leaves the network.
    pub ifindex: u32,
    /// Its ECN field.
    pub ecn: u8,
    /// Whether the destination's own stack takes the packet: it is TCP, for the endpoint's own address or for what
    /// it serves, and the endpoint does not forward.
    pub ends_here: bool,
    /// Between whom.
    pub kind: Kind,
    /// The slot of the backend that it is a question for, or 0.
    pub slot: u32,
}

/// What sort of frame a peer sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From one endpoint to another.
    Inside,
    /// From the network's gateway to an endpoint: a client's packet for a service.
    Question,
    /// From an endpoint to the network's gateway: an answer to a client that came to this node. Who it is from is not
    /// checked here.
    Answer,
}

/// Reads the frame at `offset`, which `peer` sent in network `vni`, and checks it.
///
/// The tables name only networks that have an endpoint here, and only peers that are alive: a plan writes and
/// removes their entries in the order that keeps it so. A frame whose source and destination they know is thus of
/// such a network and from such a peer; which of it fails is looked up only then.
#[inline(always)]
pub fn check(
    ctx: &TcContext,
    work: &mut Work,
    offset: usize,
    vni: u32,
    peer: &Address,
) -> Result<Inner, DropReason> {
    check_inner(ctx, work, offset, vni, peer).map_err(|reason| explain(vni, peer, reason))
}

#[inline(never)]
fn explain(vni: u32, peer: &Address, reason: DropReason) -> DropReason {
    if maps::vtep(*peer).is_none() {
        DropReason::UnknownVtep
    } else if maps::network(vni).is_none() {
        DropReason::UnknownNetwork
    } else {
        reason
    }
}

#[inline(always)]
fn check_inner(
    ctx: &TcContext,
    work: &mut Work,
    offset: usize,
    vni: u32,
    peer: &Address,
) -> Result<Inner, DropReason> {
    work::read_packet(ctx, offset, work)?;
    let (header, packet) = (&work.headers.ethernet, work.packet());
    let gateway = gateway_mac(vni);
    let kind = if header.destination == gateway {
        Kind::Answer
    } else if header.source == gateway {
        Kind::Question
    } else {
        Kind::Inside
    };
    let (ifindex, slot) = match kind {
        Kind::Inside => {
            check_source(vni, peer, header, packet)?;
            (destination(vni, header, packet)?, 0)
        }
        Kind::Question => {
            maps::vtep(*peer).ok_or(DropReason::UnknownVtep)?;
            backend(vni, header, packet)?
        }
        // Whose it is, its flow says.
        Kind::Answer => (0, 0),
    };
    // Only asked for what the kernel merged, so it costs the others nothing.
    let present = (ctx.len() as usize).saturating_sub(offset + ethernet::LEN);
    let ends_here = frame::is_merged(ctx)
        && kind != Kind::Answer
        && ends_at(ifindex, packet, present, kind == Kind::Question);
    Ok(Inner { ifindex, ecn: packet.ecn(), ends_here, kind, slot })
}

/// The peer has the endpoint with this MAC address, and that endpoint has this address or forwards for others.
#[inline(never)]
fn check_source(
    vni: u32,
    peer: &Address,
    header: &ethernet::Header,
    packet: &ip::Header,
) -> Result<(), DropReason> {
    match maps::destination(vni, header.source) {
        Some(owner) if owner.ifindex == 0 && owner.vtep == *peer => {
            if owner.forward != 0 {
                return Ok(());
            }
        }
        _ => return Err(DropReason::NotOwner),
    }
    match maps::neighbour(vni, packet.source()) {
        Some(mac) if *mac == header.source => Ok(()),
        _ => Err(DropReason::SpoofedInner),
    }
}

/// The host's end of the destination's veth pair.
#[inline(never)]
fn destination(vni: u32, header: &ethernet::Header, packet: &ip::Header) -> Result<u32, DropReason> {
    if ethernet::is_group(&header.destination) || packet.destination().is_group() {
        return Err(DropReason::Multicast);
    }
    match maps::destination(vni, header.destination) {
        None => Err(DropReason::UnknownDestination),
        Some(elsewhere) if elsewhere.ifindex == 0 => Err(DropReason::NotHere),
        Some(here) => Ok(here.ifindex),
    }
}

/// The host's end of the veth pair of a backend here, and its slot.
#[inline(always)]
fn backend(vni: u32, header: &ethernet::Header, packet: &ip::Header) -> Result<(u32, u32), DropReason> {
    if let Some(slot) = maps::local_backend(vni, header.destination)
        && let Some(backend) = maps::backend(slot)
        // By now the slot may be another's.
        && backend.mac == header.destination
        && backend.ifindex != 0
        && !packet.destination().is_group()
    {
        return Ok((backend.ifindex, slot));
    }
    destination(vni, header, packet)?;
    Err(DropReason::NotPublished)
}

/// See [`Inner::ends_here`]. A packet that does not account for all that is `present` is not TCP that was merged, but
/// whole VXLAN packets that were.
#[inline(never)]
fn ends_at(ifindex: u32, packet: &ip::Header, present: usize, from_outside: bool) -> bool {
    let Some(endpoint) = maps::source(ifindex) else { return false };
    let own = if packet.is_v4() { &endpoint.ip4 } else { &endpoint.ip6 };
    let whole = packet.total() == 0 || packet.total() == present;
    let for_it = from_outside || packet.destination() == *own;
    endpoint.forward == 0 && whole && packet.protocol() == ip::protocol::TCP && for_it
}
