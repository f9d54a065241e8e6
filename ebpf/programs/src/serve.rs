//! The backend's node in the routing mesh: what clients outside send, from here or sent on by a peer, is given to the
//! backend, whose answers go to the client directly.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Backend, FlowKey, Port, scope};
use overlay_abi::{Address, DropReason, Source};
use overlay_packet::transport::tcp;

use crate::frame::{self, Outcome, Verdict};
use crate::rewrite::{self, Change, End};
use crate::work::{self, Work};
use crate::{encap, flow, fragment, hop, maps, mesh, mss, snat};

/// Gives a client's packet to a backend here: the backend's address and port take the place of those that the client
/// asked for, which are kept for the answer, with the VTEP that the answer goes back through, if any. The frame starts
/// with its Ethernet header.
#[inline(always)]
pub fn arrive(
    ctx: &TcContext,
    work: &mut Work,
    backend: &Backend,
    port: &Port,
    via: &Address,
) -> Result<(), DropReason> {
    remember(work, backend, scope::RETURN, port.target, via)?;
    rewrite::apply(ctx, work)
}

/// Fills in what must be changed for the backend to take the packet on that port, and keeps what the client asked for.
#[inline(never)]
pub fn remember(
    work: &mut Work,
    backend: &Backend,
    scope: u8,
    port: u16,
    via: &Address,
) -> Result<(), DropReason> {
    let own = if work.packet().is_v4() { backend.ip4 } else { backend.ip6 };
    if own.is_none() {
        return Err(DropReason::NoBackend);
    }
    work.change = Change { end: End::Destination, address: own, port };
    work.key = FlowKey::new(scope, backend.vni, work.transport.protocol, (own, port), work.source());
    let asked = work.destination();
    match flow::find(&work.key, work.transport.now) {
        Some(flow) if flow.address == asked.0 && flow.port == asked.1 && flow.via == *via => {
            flow::follow(flow, &work.transport);
        }
        _ if work.is_error() => return Err(DropReason::UnknownError),
        _ => {
            work.flow = flow::begun(&work.transport, (0, 0), asked);
            work.flow.via = *via;
            maps::keep_flow(&work.key, &work.flow);
        }
    }
    Ok(())
}

/// What a peer sent on from a client, unpacked and its IP header read, to the backend in a slot.
#[inline(always)]
pub fn land(ctx: &TcContext, work: &mut Work, vni: u32, slot: u32, peer: &Address) -> Result<(), DropReason> {
    if !work::read_transport(ctx, work, vni) {
        return Err(work.unread(DropReason::NotPublished));
    }
    let backend = maps::backend(slot).ok_or(DropReason::NotPublished)?;
    let port = mesh::published(&work.transport).ok_or(DropReason::NotPublished)?;
    if port.service != backend.service {
        return Err(DropReason::NotPublished);
    }
    fragment::keep(work, vni);
    let via = if snat::is_hidden(work) { peer } else { &Address::NONE };
    arrive(ctx, work, backend, port, via).inspect_err(|reason| maps::count_refusal(port.service, *reason))
}

/// What an endpoint sends to its gateway: if it answers a client outside, it goes there, as if from where the client
/// had asked. It passes if it does not.
#[inline(always)]
pub fn answer(ctx: &TcContext, work: &mut Work, source: &Source) -> Outcome {
    if !is_answer(ctx, work, source) {
        return Ok(Verdict::Pass);
    }
    send(ctx, work, source.vni)?;
    Ok(Verdict::Redirect)
}

/// Whether a client waits for it; then what must be changed is filled in.
#[inline(always)]
fn is_answer(ctx: &TcContext, work: &mut Work, source: &Source) -> bool {
    if !work::read_transport(ctx, work, source.vni) {
        return false;
    }
    work.key =
        FlowKey::new(scope::RETURN, source.vni, work.transport.protocol, work.source(), work.destination());
    let Some(flow) = flow::find(&work.key, work.transport.now) else { return false };
    flow::follow(flow, &work.transport);
    fragment::keep(work, source.vni);
    work.change = Change { end: End::Source, address: flow.address.by_words(), port: flow.port };
    work.flow.via = flow.via.by_words();
    true
}

#[inline(never)]
fn send(ctx: &TcContext, work: &mut Work, vni: u32) -> Result<(), DropReason> {
    if work.transport.flags & tcp::SYN != 0 {
        // What the client sends then is wrapped, at whichever node it comes to.
        let network = maps::network(vni).ok_or(DropReason::UnknownNetwork)?;
        mss::clamp(ctx, work.packet(), network.mtu)?;
    }
    rewrite::apply(ctx, work)?;
    if !work.flow.via.is_none() {
        let via = work.flow.via;
        let mtu = maps::vtep(via).ok_or(DropReason::UnknownVtep)?.mtu;
        if !encap::fits(ctx, work.packet(), u32::from(mtu)) {
            return Err(DropReason::TooBig);
        }
        return encap::send(ctx, work, vni, &via);
    }
    if snat::is_hidden(work) {
        return snat::restore(ctx, work);
    }
    send_out(ctx, work)
}

/// Sends a packet that was changed out of the overlay, to the host that it is for, as a router does; or to a process of this
/// host, which has asked this node, or another one that chose a backend here.
#[inline(always)]
pub fn send_out(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    let node = maps::node().ok_or(DropReason::NoNode)?;
    let (from, to) = (work.packet().source(), work.packet().destination());
    let hop = hop::to_client(&(from, to), work.transport.now, hop::NO_PATIENCE);
    // A next hop is known to others alone, for whom that need not be asked.
    if hop.is_none() && maps::is_own(to) {
        work.headers.ethernet.set_macs(&[0; 6]);
        work.headers.write(ctx)?;
        frame::deliver_to_host();
        return Ok(());
    }
    // What seems to be VXLAN is ours alone.
    if work.is_udp() && work.transport.destination_port == node.data_port {
        return Err(DropReason::ForeignSender);
    }
    work.count_hop()?;
    if let Some(hop) = hop {
        work.headers.ethernet.set_macs(hop.macs());
    }
    work.headers.write(ctx)?;
    hop::leave(ctx, node, hop.is_some());
    Ok(())
}
