//! What is odd but lawful passes whole: IP options, fragments, jumbo frames, ICMP errors, underlays of different MTUs.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::probe::TcpProbe;
use overlay_harness::traffic::{Ping, Responder, tcp_transfer, who_answers};
use overlay_harness::{Attached, Lab, Netns, Node, Topology, eventually};

use crate::steps::{SOON, attach_each, create_network, name};

/// A port that nobody listens on.
const CLOSED: u16 = 9;

const TRANSFER: usize = 1_000_003;

#[test]
fn options_fragments_and_errors_pass() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, remote] = attach_each(lab, "blue", nodes)?;
        let local = lab.attach(nodes[0], "blue", "local", &[])?;
        for peer in [&remote, &local] {
            record_route(&a.netns, peer)?;
            let _responder = Responder::start(&peer.netns, &name(peer))?;
            for address in [peer.ip4(), peer.ip6()] {
                let who = who_answers(&a.netns, address, 8000)?;
                ensure!(who == name(peer), "{address} is {who}");
                is_refused(&a.netns, address)?;
            }
        }
        time_exceeded(lab, &a)
    });
}

/// Both ends write their addresses into the option.
fn record_route(from: &Netns, to: &Attached) -> Result<()> {
    for option in [&["-R"][..], &["-T", "tsandaddr"]] {
        let mut ping = Command::new("ping");
        let said =
            from.output(ping.args(["-n", "-c", "1", "-W", "2"]).args(option).arg(to.ip4().to_string()))?;
        let recorded = said.lines().filter(|line| line.contains(&to.ip4().to_string())).count();
        // Ping names it in its head, with the answer, and in its summary; the option adds to these.
        ensure!(recorded > 3, "the option came back empty: {said}");
    }
    Ok(())
}

/// "Port unreachable" reaches the socket that asked.
fn is_refused(from: &Netns, address: IpAddr) -> Result<()> {
    from.run(|| {
        let any: SocketAddr = if address.is_ipv6() { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect((address, CLOSED))?;
        socket.send(b"anyone?")?;
        let error = socket.recv(&mut [0; 16]).err().context("an answer from a closed port")?;
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{address}: {error}");
        Ok(())
    })
}

/// A router on the way says so.
fn time_exceeded(lab: &Lab, from: &Attached) -> Result<()> {
    let [n1, n2] = lab.nodes();
    n1.ctl(&["network", "create", "green", "--subnet", "10.78.0.0/24", "--subnet", "fd78::/64"])?;
    eventually("n2 knows green", SOON, || n2.network("green"))?;
    let router = lab.attach(n2, "blue", "router", &["--forward"])?;
    let second = n2.attach(&router.netns, "green", "router", &["--forward"])?;
    let beyond = lab.attach(n1, "green", "beyond", &[])?;
    for sysctl in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        router.netns.run(|| Ok(std::fs::write(format!("/proc/sys/{sysctl}"), "1")?))?;
    }
    for (end, subnets, by) in [
        (from, ["10.78.0.0/24", "fd78::/64"], &router),
        (&beyond, crate::steps::SUBNETS, &Attached { netns: router.netns.clone(), row: second }),
    ] {
        end.netns.ip(&format!("route add {} via {}", subnets[0], by.ip4()))?;
        end.netns.ip(&format!("route add {} via {}", subnets[1], by.ip6()))?;
    }
    for (target, hop) in [(beyond.ip4(), router.ip4()), (beyond.ip6(), router.ip6())] {
        eventually("the router forwards", SOON, || Ping::to(target).all_answered(&from.netns))?;
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", "1", "-W", "2", "-t", "1", &target.to_string()]);
        let said = from.netns.run(|| Ok(ping.output()?.stdout))?;
        let said = String::from_utf8_lossy(&said);
        let told = said.lines().any(|line| {
            line.contains(&hop.to_string())
                && (line.contains("Time to live exceeded") || line.contains("Time exceeded"))
        });
        ensure!(told, "{target}: {said}");
    }
    Ok(())
}

#[test]
fn jumbo_underlays() {
    Lab::run(Topology::of(2).mtu(9000), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        fills(&nodes, [&a, &b], 9000 - 50)
    });
}

#[test]
fn underlays_of_different_mtus() {
    Lab::run(Topology::of(2).mtu(9000), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let underlay = |mtu: u16| nodes[1].netns().ip(&format!("link set eth0 mtu {mtu}"));
        underlay(1500)?;
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        fills(&nodes, [&a, &b], 1500 - 50)?;
        underlay(9000)?;
        fills(&nodes, [&a, &b], 9000 - 50)?;
        // A stream that is under way when the way becomes narrow goes on.
        let stream = TcpProbe::start(&a.netns, &b.netns, b.ip4())?;
        underlay(1500)?;
        fills(&nodes, [&a, &b], 1500 - 50)?;
        stream.wait_for_more(TRANSFER as u64)?;
        stream.stop().map(drop)
    });
}

/// Waits until packets of exactly this size are the largest that pass, and has streams cross.
fn fills(nodes: &[&Node], [a, b]: [&Attached; 2], mtu: u16) -> Result<()> {
    for node in nodes {
        eventually(&format!("{} has an MTU of {mtu}", node.name()), SOON, || {
            let effective = node.network("blue")?.effective_mtu;
            ensure!(effective == mtu, "it is {effective}");
            Ok(())
        })?;
    }
    for (from, to) in [(a, b), (b, a)] {
        for address in [to.ip4(), to.ip6()] {
            eventually(&format!("{} bytes reach {}", mtu, name(to)), SOON, || {
                Ping::to(address).filling(mtu).all_answered(&from.netns)
            })?;
            Ping::to(address).filling(mtu + 1).none_answered(&from.netns)?;
            tcp_transfer(&from.netns, &to.netns, address, TRANSFER)?;
        }
    }
    Ok(())
}
