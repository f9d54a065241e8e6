//! A flood of connections that nobody means to open: it may cost the service that it is for, and none other.

use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use overlay_harness::client::Sees;
use overlay_harness::load::{Load, Newcomers};
use overlay_harness::{Lab, Node, Outside};

use crate::hostile::frames::{Mac, NOBODY_MAC, PacketSocket, device_mac, written};
use crate::mesh::{Hook, attach_backend, cluster, create_service_that, lead_as, targets};

const FLOODED: u16 = 8080;
const OTHER: u16 = 8081;

const SOURCES: u32 = 1_000_000;
/// Theirs (RFC 6598): each has one port, and sends one packet.
const SOURCE_NETWORK: &str = "100.64.0.0/10";
const FIRST_SOURCE: u32 = 100 << 24 | 64 << 16;
const SOURCE_PORT: u16 = 1024;

/// The flood is as fast as it is answered. With no more than so many on their way, no queue there is ever full of them: a full one
/// loses others' packets before any program sees them.
const ON_THEIR_WAY: u32 = 64;
/// What isn't answered by then is not on its way any more: it found no port, if its client was to be hidden.
const LOST: Duration = Duration::from_millis(50);

/// Lasting conversations with each address of each node, by each protocol.
const EACH: usize = 2;
const ANSWERS: u64 = 10;

#[test]
fn a_flood_costs_no_other_service_in_tc() {
    a_flood_costs_no_other_service(Hook::Tc, Sees::Client);
}

#[test]
fn a_flood_costs_no_other_service_in_xdp() {
    a_flood_costs_no_other_service(Hook::Xdp, Sees::Client);
}

#[test]
fn a_flood_costs_no_other_service_where_clients_are_hidden_in_tc() {
    a_flood_costs_no_other_service(Hook::Tc, Sees::Asked);
}

#[test]
fn a_flood_costs_no_other_service_where_clients_are_hidden_in_xdp() {
    a_flood_costs_no_other_service(Hook::Xdp, Sees::Asked);
}

/// Both services have their backends on the same node, and clients come by all.
fn a_flood_costs_no_other_service(hook: Hook, sees: Sees) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        outside.router().ip(&format!("route add blackhole {SOURCE_NETWORK}"))?;
        create_service_that(n1, "flooded", FLOODED, sees)?;
        create_service_that(n1, "other", OTHER, sees)?;
        let _flooded = attach_backend(lab, n2, "flooded", "f", "1")?;
        let _other = attach_backend(lab, n2, "other", "o", "1")?;
        let (flooded, other) = (targets(&nodes, FLOODED), targets(&nodes, OTHER));
        lead_as(&outside, sees, &flooded, &["f"])?;
        lead_as(&outside, sees, &other, &["o"])?;
        let load = Load::start_as(outside.client(), sees, &other, EACH)?;
        let newcomers = Newcomers::start_as(outside.client(), sees, &other);
        let began = newcomers.now();
        flood(&outside, n3)?;
        let took = newcomers.now() - began;
        load.goes_on(ANSWERS)?;
        let attempts = newcomers.stop()?;
        let during = attempts.iter().filter(|attempt| attempt.at < began + took);
        let (came, failed): (Vec<_>, Vec<_>) = during.partition(|attempt| attempt.answer.is_ok());
        println!(
            "{SOURCES} SYNs in {took:.1?}, in {hook:?}, whose backends see {sees:?}: {} of {} new connections with another \
             service succeeded",
            came.len(),
            came.len() + failed.len()
        );
        ensure!(!came.is_empty() && failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), attempts.len());
        let broken: Vec<_> = load.stop().into_iter().filter(|report| !report.is_whole()).collect();
        ensure!(broken.is_empty(), "{broken:#?}");
        // And it serves on itself.
        lead_as(&outside, sees, &flooded, &["f"])?;
        hook.has_served(n3)
    });
}

/// From the router, as if each came from another client behind it.
fn flood(outside: &Outside, node: &Node) -> Result<()> {
    let from = PacketSocket::open(outside.router(), "eth0")?;
    let target = device_mac(node.netns(), "eth0")?;
    let mut answered = 0;
    for number in 0..SOURCES {
        let lost = Instant::now() + LOST;
        while number - answered >= ON_THEIR_WAY {
            let left = PollTimeout::try_from(lost.saturating_duration_since(Instant::now()))?;
            poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left)?;
            let frames = from.frames()?;
            let newest =
                frames.iter().filter_map(|frame| answer_to(frame)).filter(|answer| *answer < number).max();
            answered = match newest {
                Some(newest) => answered.max(newest + 1),
                None if Instant::now() < lost => answered,
                None => number,
            };
        }
        from.send(&syn(FIRST_SOURCE + number, node.addr(), target)?)?;
    }
    Ok(())
}

/// The number of the SYN that this answers.
fn answer_to(frame: &[u8]) -> Option<u32> {
    let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ethernet(frame).ok()?.transport else {
        return None;
    };
    let answers = tcp.syn() && tcp.ack() && tcp.source_port() == FLOODED;
    answers.then(|| tcp.acknowledgment_number().checked_sub(FIRST_SOURCE + 1))?
}

fn syn(source: u32, target: IpAddr, mac: Mac) -> Result<Vec<u8>> {
    let IpAddr::V4(target) = target else { bail!("an IPv4 address") };
    let builder = PacketBuilder::ethernet2(NOBODY_MAC, mac)
        .ipv4(source.to_be_bytes(), target.octets(), 64)
        .tcp(SOURCE_PORT, FLOODED, source, 64_000)
        .syn();
    written(|frame| builder.write(frame, &[]))
}
