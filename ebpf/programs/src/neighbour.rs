//! ARP and Neighbour Discovery, answered from the NEIGHBOURS map. What an endpoint claims is checked first;
//! no such packet ever leaves for another endpoint.

use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, DropReason, Source};
use overlay_packet::{arp, ethernet, ip, ndp};

use crate::frame::{self, Outcome};
use crate::maps;

#[inline(never)]
pub fn answer_arp(ctx: &TcContext, source: &Source) -> Outcome {
    let packet = arp::parse(&frame::load(ctx, 0)?).ok_or(DropReason::MalformedNeighbour)?;
    if packet.sender_mac != source.mac {
        return Err(DropReason::SpoofedNeighbour);
    }
    // RFC 5227: a probe's sender is all zero.
    if packet.request && packet.sender == Address::v4([0; 4]) {
        return Err(DropReason::DuplicateProbe);
    }
    if source.ip4.is_none() || packet.sender != source.ip4 {
        return Err(DropReason::SpoofedNeighbour);
    }
    if !packet.request || packet.target == packet.sender {
        return Err(DropReason::Announcement);
    }
    let mac = maps::neighbour(source.vni, packet.target).ok_or(DropReason::UnknownNeighbour)?;
    let reply = arp::reply(&packet, *mac);
    frame::store(ctx, 0, &reply)?;
    Ok(frame::send_to(frame::skb(ctx).ifindex))
}

#[inline(never)]
pub fn answer_solicitation(
    ctx: &TcContext,
    source: &Source,
    header: &ethernet::Header,
    packet: &ip::Header,
) -> Outcome {
    let (sender, target) = (packet.source(), target(ctx, packet)?);
    if sender.is_none() {
        return Err(DropReason::DuplicateProbe);
    }
    check_claim(source, &sender)?;
    check_option(ctx, source, ndp::option::SOURCE)?;
    let mac = maps::neighbour(source.vni, target).ok_or(DropReason::UnknownNeighbour)?;
    let network = maps::network(source.vni).ok_or(DropReason::UnknownNetwork)?;
    let router = target == network.gateway6;
    frame::resize(ctx, ndp::ADVERTISEMENT_LEN)?;
    let mut answer = [0; ndp::ADVERTISEMENT_LEN];
    ndp::write_advertisement(&mut answer, header.source, &sender, &target, *mac, router);
    frame::store(ctx, 0, &answer)?;
    Ok(frame::send_to(frame::skb(ctx).ifindex))
}

/// An advertisement is never of use, as the map answers for everyone; the reason tells a false one.
#[inline(never)]
pub fn check_advertisement(ctx: &TcContext, source: &Source, packet: &ip::Header) -> Outcome {
    let target = target(ctx, packet)?;
    check_claim(source, &packet.source())?;
    check_claim(source, &target)?;
    check_option(ctx, source, ndp::option::TARGET)?;
    Err(DropReason::Announcement)
}

/// The target of a solicitation or advertisement. A hop limit below 255 means that it was routed
/// (RFC 4861, section 7.1).
#[inline(always)]
fn target(ctx: &TcContext, packet: &ip::Header) -> Result<Address, DropReason> {
    if packet.hop_limit() != 255 || packet.total() < ndp::SOLICITATION_LEN - ethernet::LEN {
        return Err(DropReason::MalformedNeighbour);
    }
    frame::load(ctx, ndp::ICMP_OFFSET + 8).map(Address)
}

/// An endpoint speaks for its own address, and for its link-local ones, which nobody else can see.
#[inline(never)]
fn check_claim(source: &Source, address: &Address) -> Result<(), DropReason> {
    let own = *address == source.ip6 && !source.ip6.is_none();
    if own || address.is_link_local6() { Ok(()) } else { Err(DropReason::SpoofedNeighbour) }
}

/// The link-layer address option, where it comes first, must tell the endpoint's own.
#[inline(never)]
fn check_option(ctx: &TcContext, source: &Source, kind: u8) -> Result<(), DropReason> {
    let Ok([option, length, mac @ ..]) = frame::load::<8>(ctx, ndp::SOLICITATION_LEN) else { return Ok(()) };
    if option == kind && length == 1 && mac != source.mac {
        return Err(DropReason::SpoofedNeighbour);
    }
    Ok(())
}
