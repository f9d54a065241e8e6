//! What does not fit the way to a backend: datagrams in fragments, and clients that learn what fits.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{getsockopt, sockopt};
use overlay::model::Protocol;
use overlay_harness::client::Conversation;
use overlay_harness::{Lab, Netns, Node, Outside, eventually};

use super::{Hook, TARGET, attach_backend, cluster, create_service, lead_to, targets};
use crate::services::detail;
use crate::steps::SOON;

const PORT: u16 = 8080;

/// What the underlay carries and what the overlay does on it, in bytes of an IP packet.
const UNDERLAY: u16 = 1500;
const OVERLAY: u16 = 1450;

/// A datagram in many fragments, in bytes.
const LARGE: usize = 20_000;

const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn large_packets_arrive_and_clients_learn_what_fits_in_tc() {
    large_packets_arrive(Hook::Tc);
}

#[test]
fn large_packets_arrive_and_clients_learn_what_fits_in_xdp() {
    large_packets_arrive(Hook::Xdp);
}

fn large_packets_arrive(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service(n1, "web", PORT)?;
        let backend = attach_backend(lab, n1, "web", "a", "1")?;
        lead_to(&outside, &targets(&nodes, PORT), &["a"])?;
        let client = outside.client();

        // What nobody may cut is answered with the size that fits; IPv4's fragments are cut once more instead.
        exchange(client, SocketAddr::new(n2.address(false), PORT), LARGE)?;
        fits(&outside, n2.address(false), UNDERLAY)?;
        for ipv6 in [false, true] {
            let headers = if ipv6 { 48 } else { 28 };
            let target = SocketAddr::new(n3.address(ipv6), PORT);
            learns(client, target, usize::from(UNDERLAY) - headers)?;
            fits(&outside, target.ip(), OVERLAY)?;
        }
        for target in targets(&nodes, PORT).into_iter().filter(|(protocol, _)| *protocol == Protocol::Udp) {
            learns(client, target.1, LARGE)?;
        }
        for endpoint in [lab.attach(n3, "blue", "far", &[])?, lab.attach(n1, "blue", "beside", &[])?] {
            for vip in detail(n1, "web")?.service.vips {
                learns(&endpoint.netns, SocketAddr::new(vip.address, TARGET), LARGE)?;
            }
        }

        // A backend that takes more than the network carries: what its clients send must be no larger all the same.
        backend.endpoint.netns.ip(&format!("link set eth0 mtu {UNDERLAY}"))?;
        for ipv6 in [false, true] {
            let target = SocketAddr::new(n1.address(ipv6), PORT);
            let stream = client.run(|| Ok(TcpStream::connect_timeout(&target, PATIENCE)?))?;
            let (segment, headers) = (getsockopt(&stream, sockopt::TcpMaxSeg)?, if ipv6 { 60 } else { 40 });
            ensure!(segment + headers <= OVERLAY.into(), "segments of {segment} bytes to {target}");
        }
        Ok(())
    });
}

/// A question of that many bytes, which is in the answer as well.
fn exchange(from: &Netns, target: SocketAddr, length: usize) -> Result<()> {
    let question: Vec<u8> = (0..length).map(|n| (n * 31 + n / 251) as u8).collect();
    let mut conversation = from.run(|| Conversation::open(Protocol::Udp, target, PATIENCE))?;
    conversation.ask(&question).map(drop).with_context(|| format!("{length} bytes to {target}"))
}

/// The same, where the first may be lost for the sender to learn from.
fn learns(from: &Netns, target: SocketAddr, length: usize) -> Result<()> {
    eventually(&format!("{length} bytes from {from} to {target}"), SOON, || exchange(from, target, length))
}

/// How large the client's packets for that address may be, by its own stack.
fn fits(outside: &Outside, to: IpAddr, most: u16) -> Result<()> {
    let route = outside.client().ip(&format!("route get {to}"))?;
    let mtu = route.split_whitespace().skip_while(|word| *word != "mtu").nth(1);
    let mtu: u16 = mtu.map_or(Ok(UNDERLAY), str::parse)?;
    ensure!(mtu == most, "{mtu} instead of {most} bytes: {route}");
    Ok(())
}
