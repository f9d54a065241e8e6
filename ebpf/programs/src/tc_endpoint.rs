//! What an endpoint sends: checked against what it may send as, answered here where it asks for a neighbour or
//! the gateway, delivered here or sent to the peer's node. Nothing is flooded, and nothing goes up the host's stack.

use aya_ebpf::programs::TcContext;
use overlay_abi::{Destination, DropReason, Source, gateway_mac};
use overlay_packet::{ethernet, icmp, ip};

use crate::frame::{self, Outcome, Verdict};
use crate::work::Work;
use crate::{egress, encap, extension, gateway, maps, mss, neighbour, serve, vip};

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    let ifindex = frame::skb(ctx).ifindex;
    let source = maps::source(ifindex).ok_or(DropReason::UnknownSource)?;
    let work = maps::work().ok_or(DropReason::NoNode)?;
    work.begin();
    work.headers.read(ctx, 0)?;
    if work.headers.ethernet.source != source.mac {
        return Err(DropReason::SpoofedMac);
    }
    // The kernel takes a tag off before this hook and keeps it beside the frame.
    if frame::skb(ctx).vlan_present != 0 {
        return Err(DropReason::Vlan);
    }
    if work.headers.ethernet.ethertype() == ethernet::ARP {
        return neighbour::answer_arp(ctx, source);
    }
    work.headers.check(ctx, 0)?;
    let packet = work.packet();
    if !packet.is_v4() {
        if packet.protocol() == ip::protocol::ICMPV6 {
            match frame::load::<1>(ctx, ethernet::LEN + ip::V6_LEN)?[0] {
                icmp::v6::NEIGHBOUR_SOLICITATION => {
                    return neighbour::answer_solicitation(ctx, source, &work.headers.ethernet, packet);
                }
                icmp::v6::NEIGHBOUR_ADVERTISEMENT => {
                    return neighbour::check_advertisement(ctx, source, packet);
                }
                icmp::v6::ROUTER_SOLICITATION => return Err(DropReason::RouterSolicitation),
                icmp::v6::ROUTER_ADVERTISEMENT => return Err(DropReason::RouterAdvertisement),
                icmp::v6::REDIRECT => return Err(DropReason::MalformedNeighbour),
                _ => {}
            }
        } else if extension::is_extension(packet.protocol()) {
            refuse_hidden(ctx, packet)?;
        }
    }
    refuse_group(&work.headers.ethernet, packet)?;
    check_source(source, packet)?;
    if work.headers.ethernet.destination == gateway_mac(source.vni) {
        return out_of_subnet(ctx, work, source);
    }
    let destination = match maps::destination(source.vni, work.headers.ethernet.destination) {
        Some(destination) => destination,
        None => moved(ctx, work, source.vni)?,
    };
    match destination.ifindex {
        0 => {
            let mtu = maps::vtep(destination.vtep).ok_or(DropReason::UnknownVtep)?.mtu;
            if encap::fits(ctx, work.packet(), u32::from(mtu)) {
                mss::clamp(ctx, work.packet(), mtu)?;
                encap::send(ctx, work, source.vni, &destination.vtep)?;
                Ok(Verdict::Redirect)
            } else {
                gateway::answer_too_big(ctx, source, work.packet(), mtu)
            }
        }
        // No look at the size: the kernel already held it against the host end's MTU, which is the network's.
        local => {
            if vip::restore(ctx, work, source.vni)? {
                work.headers.write(ctx)?;
            }
            Ok(frame::deliver_to(ctx, local))
        }
    }
}

/// What the endpoint sends to its gateway.
#[inline(always)]
fn out_of_subnet(ctx: &TcContext, work: &mut Work, source: &Source) -> Outcome {
    // Most of what a backend sends there are answers.
    if source.serves != 0
        && let redirected @ Verdict::Redirect = serve::answer(ctx, work, source)?
    {
        return Ok(redirected);
    }
    if let redirected @ Verdict::Redirect = vip::ask(ctx, work, source)? {
        return Ok(redirected);
    }
    if gateway::is_own(source.vni, work.packet()) {
        return gateway::answer_echo(ctx, &work.headers.ethernet, work.packet(), DropReason::NoEgress);
    }
    egress::leave(ctx, work, source)
}

/// An address that went from one endpoint to another has a new MAC address, which the sender's neighbour table
/// learns only once its old entry ages (half a minute, `base_reachable_time_ms`). Until then the frame is readdressed.
#[inline(never)]
fn moved(ctx: &TcContext, work: &mut Work, vni: u32) -> Result<&'static Destination, DropReason> {
    let mac = maps::neighbour(vni, work.packet().destination()).ok_or(DropReason::UnknownDestination)?;
    let destination = maps::destination(vni, *mac).ok_or(DropReason::UnknownDestination)?;
    work.headers.ethernet.destination = *mac;
    frame::store(ctx, 0, mac)?;
    Ok(destination)
}

/// Neighbour Discovery behind extension headers would reach the peer's kernel unchecked (RFC 7113). Multicast
/// listener reports are always behind one (RFC 3810, section 5), and go nowhere either.
#[inline(never)]
fn refuse_hidden(ctx: &TcContext, packet: &ip::Header) -> Result<(), DropReason> {
    match extension::follow(ctx, packet)? {
        Some(transport) if transport.protocol == ip::protocol::ICMPV6 => {
            match frame::load::<1>(ctx, transport.at)?[0] {
                icmp::v6::ROUTER_SOLICITATION..=icmp::v6::REDIRECT => Err(DropReason::MalformedNeighbour),
                icmp::v6::LISTENER_QUERY..=icmp::v6::LISTENER_DONE | icmp::v6::LISTENER_REPORT2 => {
                    Err(DropReason::MulticastListener)
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Broadcasts and multicasts go nowhere.
#[inline(always)]
fn refuse_group(header: &ethernet::Header, packet: &ip::Header) -> Result<(), DropReason> {
    if header.destination == [0xff; 6] {
        return Err(DropReason::Broadcast);
    }
    if ethernet::is_group(&header.destination) || packet.destination().is_group() {
        return Err(DropReason::Multicast);
    }
    Ok(())
}

#[inline(always)]
fn check_source(source: &Source, packet: &ip::Header) -> Result<(), DropReason> {
    let (claimed, own) = (packet.source(), if packet.is_v4() { &source.ip4 } else { &source.ip6 });
    if claimed == *own && !own.is_none() {
        Ok(())
    } else if claimed.is_link_local6() {
        Err(DropReason::LinkLocalSource)
    } else if source.forward != 0 {
        Ok(())
    } else {
        Err(DropReason::SpoofedAddress)
    }
}
