//! The underlay changes under the overlay: traffic follows within a second of the kernel's own knowing, which the
//! nodes' own pings tell.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::traffic::Ping;
use overlay_harness::{Attached, Lab, Netns, Node, Topology, eventually};

use crate::steps::{SOON, attach_each, create_network};

/// The second link between the nodes, at the switch.
const SECOND_BRIDGE: &str = "br1";

/// A MAC address that nothing in a lab has.
const OTHER_MAC: &str = "02:00:00:00:be:ef";

#[test]
fn traffic_follows_a_link_that_goes_down_and_up() {
    for topology in [Topology::of(2), Topology::of(2).over_ipv6()] {
        two_nodes(topology, |lab, pair| {
            let [_, n2] = lab.nodes();
            for device in [n2.netns(), lab.switch()?] {
                let name = if device == n2.netns() { "eth0" } else { n2.name() };
                device.ip(&format!("link set {name} down"))?;
                Ping::to(pair.b.ip4()).none_answered(&pair.a.netns)?;
                device.ip(&format!("link set {name} up"))?;
                if n2.addr().is_ipv6() && device == n2.netns() {
                    // The kernel has removed it with the link.
                    device.ip(&format!("address add {}/64 dev eth0 nodad", n2.addr()))?;
                }
                pair.follows(lab)?;
            }
            Ok(())
        });
    }
}

#[test]
fn traffic_follows_the_address_to_another_device() {
    two_nodes(Topology::of(2), |lab, pair| {
        let [_, n2] = lab.nodes();
        let switch = lab.switch()?;
        switch.ip(&format!("link add n2b type veth peer name eth1 netns {}", n2.netns()))?;
        switch.ip("link set n2b master br0 up")?;
        announces(n2.netns(), "eth1")?;
        let address = format!("{}/24", n2.addr());
        n2.netns().ip(&format!("address del {address} dev eth0"))?;
        n2.netns().ip("link set eth0 down")?;
        n2.netns().ip(&format!("address add {address} dev eth1"))?;
        n2.netns().ip("link set eth1 up")?;
        pair.follows(lab)?;
        let underlay = n2.status()?.underlay.context("the underlay, in the status")?;
        ensure!(underlay.device == "eth1", "{underlay:?}");
        Ok(())
    });
}

#[test]
fn traffic_follows_routes_and_routers() {
    two_nodes(Topology::of(2), |lab, pair| {
        let [n1, n2] = lab.nodes();
        let [first, second] = routers(lab)?;
        let (to_n1, to_n2) = (format!("{}/32", n1.addr()), format!("{}/32", n2.addr()));
        let through = |router: &Router| -> Result<()> {
            n1.netns().ip(&format!("route replace {to_n2} via {} dev eth0", router.address))?;
            n2.netns().ip(&format!("route replace {to_n1} via {} dev eth0", router.address))?;
            pair.follows(lab)
        };
        // From one link to two, with a router between them.
        through(&first)?;
        through(&second)?;
        through(&first)?;
        // The next hop takes another MAC address, as another machine that takes its place does.
        for device in ["eth0", "eth1"] {
            first.netns.ip(&format!("link set {device} address {OTHER_MAC}"))?;
            pair.follows(lab)?;
        }
        // One direction goes another way than the other.
        n1.netns().ip(&format!("route replace {to_n2} via {} dev eth0", second.address))?;
        pair.follows(lab)
    });
}

/// An endpoint on each of the two nodes.
struct Pair {
    a: Attached,
    b: Attached,
}

impl Pair {
    /// Once the nodes reach each other, their endpoints must, too, within a second.
    fn follows(&self, lab: &Lab) -> Result<()> {
        let [n1, n2] = lab.nodes();
        for (from, to) in [(n1, n2), (n2, n1)] {
            eventually("the nodes reach each other", SOON, || {
                Ping::to(to.addr()).count(1, Duration::ZERO).all_answered(from.netns())
            })?;
        }
        for (from, to) in [(&self.a, &self.b), (&self.b, &self.a)] {
            for address in [to.ip4(), to.ip6()] {
                // All of these are sent within a second.
                let answered =
                    Ping::to(address).count(10, Duration::from_millis(100)).answered(&from.netns)?;
                ensure!(answered > 0, "{} does not reach {address}, though the nodes do", from.netns);
            }
        }
        Ok(())
    }
}

fn two_nodes(topology: Topology, test: impl FnOnce(&Lab, &Pair) -> Result<()>) {
    Lab::run(topology, |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        test(lab, &Pair { a, b })
    });
}

/// Between the link of the first node (eth0) and that of the second (eth1).
struct Router {
    netns: Netns,
    address: &'static str,
}

/// Moves the second node to a link of its own, and puts two routers between this and the other.
fn routers(lab: &Lab) -> Result<[Router; 2]> {
    let [n1, n2] = lab.nodes();
    let switch = lab.switch()?;
    switch.ip(&format!("link add {SECOND_BRIDGE} type bridge forward_delay 0 stp_state 0"))?;
    switch.ip(&format!("link set {SECOND_BRIDGE} up"))?;
    switch.ip(&format!("link set {} master {SECOND_BRIDGE}", n2.name()))?;
    let router = |name: &str, address| -> Result<Router> {
        let netns = lab.namespace(name)?;
        set(&netns, "ip_forward", "1")?;
        set(&netns, "conf/all/send_redirects", "0")?;
        for (device, bridge, node) in [("eth0", "br0", n1), ("eth1", SECOND_BRIDGE, n2)] {
            switch.ip(&format!("link add {name}{device} type veth peer name {device} netns {netns}"))?;
            switch.ip(&format!("link set {name}{device} master {bridge} up"))?;
            announces(&netns, device)?;
            set(&netns, &format!("conf/{device}/send_redirects"), "0")?;
            netns.ip(&format!("address add {address}/32 dev {device}"))?;
            netns.ip(&format!("link set {device} up"))?;
            netns.ip(&format!("route add {}/32 dev {device}", node.addr()))?;
        }
        Ok(Router { netns, address })
    };
    Ok([router("r1", "198.51.100.251")?, router("r2", "198.51.100.252")?])
}

/// Has the device tell its neighbours when it gets another MAC address, as machines that take over from others do.
fn announces(netns: &Netns, device: &str) -> Result<()> {
    set(netns, &format!("conf/{device}/arp_notify"), "1")
}

fn set(netns: &Netns, name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    netns.run(|| std::fs::write(&path, value).with_context(|| path.clone()))
}
