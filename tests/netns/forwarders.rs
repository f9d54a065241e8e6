//! Endpoints that are more than hosts: what they forward arrives whole, whichever offloads they have.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::traffic::{Ping, Responder, tcp_transfer, who_answers};
use overlay_harness::{Attached, Lab, Netns, Node, Topology, eventually};

use crate::steps::{SOON, SUBNETS, create_network, name};
use crate::wire::Wire;

/// More than GSO packets hold, and not a multiple of anything.
const TRANSFER: usize = 3_000_017;

/// The subnets of the second network.
const GREEN: [&str; 2] = ["10.78.0.0/24", "fd78::/64"];

/// What `ethtool -K` calls the offloads that merge and cut packets.
const OFFLOADS: [&str; 2] = ["tso", "gro"];

#[test]
fn a_router_between_two_networks() {
    routed(Topology::of(2));
}

#[test]
fn a_router_between_two_networks_over_ipv6() {
    routed(Topology::of(2).over_ipv6());
}

fn routed(topology: Topology) {
    Lab::run(topology, |lab| {
        let [n1, n2] = lab.nodes();
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &[n1, n2])?;
        n1.ctl(&["network", "create", "green", "--subnet", GREEN[0], "--subnet", GREEN[1]])?;
        eventually("n2 knows green", SOON, || n2.network("green"))?;
        // The router's packets leave for the node that they came from, for another one, and for its own.
        let ends = [
            (lab.attach(n1, "blue", "a", &[])?, lab.attach(n1, "green", "b", &[])?),
            (lab.attach(n1, "blue", "c", &[])?, lab.attach(n2, "green", "d", &[])?),
        ];
        let router = lab.attach(n2, "blue", "router", &["--forward"])?;
        let second = n2.attach(&router.netns, "green", "router", &["--forward"])?;
        forward(&router.netns)?;
        let green = Attached { netns: router.netns.clone(), row: second };
        for (blue, other) in &ends {
            for (end, beyond, by) in [(blue, GREEN, &router), (other, SUBNETS, &green)] {
                end.netns.ip(&format!("route add {} via {}", beyond[0], by.ip4()))?;
                end.netns.ip(&format!("route add {} via {}", beyond[1], by.ip6()))?;
            }
        }
        whichever_offloads(&[&router.netns, n2.netns()], || {
            ends.iter().try_for_each(|(blue, green)| {
                let (blue, green) = (End::of(blue), End::of(green));
                exchange(&blue, &green).and(exchange(&green, &blue))
            })
        })
    });
}

/// What is behind an endpoint's own bridge, and the bridge's addresses.
const INSIDE: [&str; 2] = ["172.30.0.0/24", "fd30::/64"];
const BRIDGE: [&str; 2] = ["172.30.0.1", "fd30::1"];
const NESTED: [&str; 2] = ["172.30.0.2", "fd30::2"];

#[test]
fn a_nested_container_that_is_masqueraded() {
    Lab::run(Topology::of(2), |lab| {
        let (host, nested, peers) = nest(lab, &[])?;
        let rules = "add table inet nat; \
            add chain inet nat out { type nat hook postrouting priority 100; }; \
            add rule inet nat out oifname eth0 masquerade";
        host.netns.output(Command::new("nft").arg(rules))?;
        whichever_offloads(&[&host.netns, &nested.netns, lab.nodes::<2>()[1].netns()], || {
            peers.iter().try_for_each(|peer| exchange(&nested, peer))
        })
    });
}

#[test]
fn a_nested_container_that_is_routed() {
    Lab::run(Topology::of(2), |lab| {
        let (host, nested, peers) = nest(lab, &["--forward"])?;
        for peer in &peers {
            peer.netns.ip(&format!("route add {} via {}", INSIDE[0], host.ip4()))?;
            peer.netns.ip(&format!("route add {} via {}", INSIDE[1], host.ip6()))?;
        }
        whichever_offloads(&[&host.netns, &nested.netns, lab.nodes::<2>()[1].netns()], || {
            peers.iter().try_for_each(|peer| exchange(&nested, peer).and(exchange(peer, &nested)))
        })
    });
}

/// An endpoint on the second node that is a container host itself, a container in it, and peers on both nodes.
fn nest(lab: &Lab, flags: &[&str]) -> Result<(Attached, End, [End; 2])> {
    let [n1, n2] = lab.nodes();
    let peers = cluster_with_peers(lab)?;
    let host = lab.attach(n2, "blue", "host", flags)?;
    forward(&host.netns)?;
    let nested = lab.namespace("nested")?;
    host.netns.ip("link add br0 type bridge")?;
    host.netns.ip(&format!("link add in0 type veth peer name eth0 netns {nested}"))?;
    host.netns.ip("link set in0 master br0 up")?;
    host.netns.ip(&format!("address add {}/24 dev br0", BRIDGE[0]))?;
    host.netns.ip(&format!("address add {}/64 dev br0 nodad", BRIDGE[1]))?;
    host.netns.ip("link set br0 up")?;
    // As container engines do: what is inside knows the way's MTU.
    nested.ip(&format!("link set eth0 mtu {} up", n1.network("blue")?.effective_mtu))?;
    nested.ip(&format!("address add {}/24 dev eth0", NESTED[0]))?;
    nested.ip(&format!("address add {}/64 dev eth0 nodad", NESTED[1]))?;
    nested.ip(&format!("route add default via {}", BRIDGE[0]))?;
    nested.ip(&format!("-6 route add default via {}", BRIDGE[1]))?;
    let addresses = [NESTED[0].parse()?, NESTED[1].parse()?];
    Ok((host, End { name: "nested".to_owned(), netns: nested, addresses }, peers))
}

#[test]
fn a_virtual_machine_behind_a_tap() {
    Lab::run(Topology::of(2), |lab| {
        let (outside, machine, peers) = virtual_machine(lab)?;
        let mtu = lab.nodes::<2>()[0].network("blue")?.effective_mtu;
        let wire = Wire::between((&outside.netns, "tap0"), (&machine.netns, "eth0"), mtu)?;
        outside.netns.ip("link set tap0 master br0 up")?;
        settle(&outside, &machine, mtu)?;
        let outcome = whichever_offloads(&[&outside.netns, lab.nodes::<2>()[1].netns()], || {
            peers.iter().try_for_each(|peer| exchange(&machine, peer).and(exchange(peer, &machine)))
        });
        // What is wrong with a frame tells more than that nothing came after it.
        wire.stop().and(outcome)
    });
}

#[test]
fn a_virtual_machine_with_offloads() {
    Lab::run(Topology::of(2), |lab| {
        let (outside, machine, peers) = virtual_machine(lab)?;
        outside.netns.ip(&format!("link add tap0 type veth peer name eth0 netns {}", machine.netns))?;
        outside.netns.ip("link set tap0 master br0 up")?;
        settle(&outside, &machine, lab.nodes::<2>()[0].network("blue")?.effective_mtu)?;
        whichever_offloads(&[&outside.netns, &machine.netns, lab.nodes::<2>()[1].netns()], || {
            peers.iter().try_for_each(|peer| exchange(&machine, peer).and(exchange(peer, &machine)))
        })
    });
}

/// An endpoint on the second node whose interface is bridged to a machine that uses its MAC and addresses, as
/// KubeVirt does: the interface gives its MAC away, or the bridge would keep the machine's frames for itself.
/// The machine is still to be plugged in.
fn virtual_machine(lab: &Lab) -> Result<(Attached, End, [End; 2])> {
    let [_, n2] = lab.nodes();
    let peers = cluster_with_peers(lab)?;
    let outside = lab.attach(n2, "blue", "machine", &[])?;
    let machine = End { netns: lab.namespace("machine")?, ..End::of(&outside) };
    outside.netns.ip("link add br0 type bridge")?;
    outside.netns.ip("address flush dev eth0")?;
    outside.netns.ip("link set eth0 address 02:ee:00:00:00:01 master br0")?;
    outside.netns.ip("link set br0 up")?;
    Ok((outside, machine, peers))
}

/// Gives the machine's interface the endpoint's MAC and addresses.
fn settle(endpoint: &Attached, machine: &End, mtu: u16) -> Result<()> {
    let [ip4, ip6] = machine.addresses;
    let mac = endpoint.row.endpoint.mac;
    machine.netns.ip(&format!("link set eth0 address {mac} mtu {mtu}"))?;
    machine.netns.ip(&format!("address add {ip4}/24 dev eth0"))?;
    machine.netns.ip(&format!("address add {ip6}/64 dev eth0 nodad"))?;
    machine.netns.ip("link set eth0 up").map(drop)
}

/// Two endpoints, one on each node.
fn cluster_with_peers(lab: &Lab) -> Result<[End; 2]> {
    let nodes: [&Node; 2] = lab.nodes();
    lab.form_cluster()?;
    create_network(nodes[0], "blue", &[], &nodes)?;
    Ok([
        End::of(&lab.attach(nodes[0], "blue", "away", &[])?),
        End::of(&lab.attach(nodes[1], "blue", "here", &[])?),
    ])
}

/// One who sends and receives, whether an endpoint or behind one.
struct End {
    name: String,
    netns: Netns,
    addresses: [IpAddr; 2],
}

impl End {
    fn of(endpoint: &Attached) -> Self {
        Self {
            name: name(endpoint),
            netns: endpoint.netns.clone(),
            addresses: [endpoint.ip4(), endpoint.ip6()],
        }
    }
}

/// Makes a namespace forward, in both families.
fn forward(netns: &Netns) -> Result<()> {
    set(netns, "net/ipv4/ip_forward", "1")?;
    set(netns, "net/ipv6/conf/all/forwarding", "1")
}

fn set(netns: &Netns, sysctl: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{sysctl}");
    netns.run(|| std::fs::write(&path, value).with_context(|| path.clone()))
}

/// Does it with the offloads of every interface in these namespaces on, and off.
fn whichever_offloads(netns: &[&Netns], mut check: impl FnMut() -> Result<()>) -> Result<()> {
    for state in ["on", "off"] {
        for netns in netns {
            for interface in netns.interfaces()? {
                let mut ethtool = Command::new("ethtool");
                ethtool.args(["-K", &interface]);
                netns.output(ethtool.args(OFFLOADS.iter().flat_map(|offload| [*offload, state])))?;
            }
        }
        check().with_context(|| format!("with {OFFLOADS:?} {state}"))?;
    }
    Ok(())
}

/// Pings, datagrams of one and of several fragments, and streams, by both families.
fn exchange(from: &End, to: &End) -> Result<()> {
    let _responder = Responder::start(&to.netns, &to.name)?;
    for address in to.addresses {
        eventually(&format!("{} reaches {address}", from.name), SOON, || {
            Ping::to(address).all_answered(&from.netns)
        })?;
        for bytes in [1, 1200, 8000] {
            let who = who_answers(&from.netns, address, bytes)?;
            ensure!(who == to.name, "{address} is {who} and not {}", to.name);
        }
        tcp_transfer(&from.netns, &to.netns, address, TRANSFER)?;
    }
    Ok(())
}
