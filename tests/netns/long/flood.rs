//! A flood of connections that nobody means to open: it may cost the service that it is for, and none other.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::PacketBuilder;
use overlay_harness::client::Sees;
use overlay_harness::load::{Load, Newcomers};
use overlay_harness::{Lab, Node, Outside};
use serde_json::Value;

use crate::hostile::frames::{Mac, NOBODY_MAC, PacketSocket, device_mac, written};
use crate::mesh::{Hook, attach_backend, cluster, create_service_that, lead_as, targets};

const FLOODED: u16 = 8080;
const OTHER: u16 = 8081;

const SOURCES: u32 = 1_000_000;
/// Theirs (RFC 6598): each has one port, and sends one packet.
const SOURCE_NETWORK: &str = "100.64.0.0/10";
const FIRST_SOURCE: u32 = 100 << 24 | 64 << 16;
const SOURCE_PORT: u16 = 1024;

/// So many at once, and so far apart, that queues on the way are hardly ever full of them: a full one loses others' packets before any
/// program sees them.
const BURST: u32 = 16;
const PAUSE: Duration = Duration::from_micros(100);

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
        let reports = load.stop();
        let unanswered: usize = reports.iter().map(|report| report.failures.len()).sum();
        let refused = refused_at(lab, n3)?;
        println!(
            "{SOURCES} SYNs in {took:.1?}, in {hook:?}, whose backends see {sees:?}: {} of {} new connections with another \
             service succeeded, and {unanswered} questions of lasting ones had no answer; the node's full queue refused \
             {refused} packets",
            came.len(),
            came.len() + failed.len()
        );
        // What no program has seen, none has lost.
        let lost = failed.len() + unanswered;
        ensure!(
            !came.is_empty() && lost <= refused,
            "{lost} lost, {refused} refused: {failed:#?} {reports:#?}"
        );
        ensure!(reports.iter().all(|report| report.servers.len() == 1), "{reports:#?}");
        // And it serves on itself.
        lead_as(&outside, sees, &flooded, &["f"])?;
        hook.has_served(n3)
    });
}

/// How many packets for the node found its device's queue full, as on a machine that is busy with others.
fn refused_at(lab: &Lab, node: &Node) -> Result<usize> {
    let links = lab.switch()?.ip(&format!("-json -stats link show dev {}", node.name()))?;
    let links: Value = serde_json::from_str(&links)?;
    let dropped = links[0]["stats64"]["tx"]["dropped"].as_u64().context("a counter")?;
    Ok(usize::try_from(dropped)?)
}

/// From the router, as if each came from another client behind it.
fn flood(outside: &Outside, node: &Node) -> Result<()> {
    let from = PacketSocket::open(outside.router(), "eth0")?;
    let target = device_mac(node.netns(), "eth0")?;
    for number in 0..SOURCES {
        from.send(&syn(FIRST_SOURCE + number, node.addr(), target)?)?;
        if number % BURST == 0 {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn syn(source: u32, target: IpAddr, mac: Mac) -> Result<Vec<u8>> {
    let IpAddr::V4(target) = target else { bail!("an IPv4 address") };
    let builder = PacketBuilder::ethernet2(NOBODY_MAC, mac)
        .ipv4(source.to_be_bytes(), target.octets(), 64)
        .tcp(SOURCE_PORT, FLOODED, source, 64_000)
        .syn();
    written(|frame| builder.write(frame, &[]))
}
