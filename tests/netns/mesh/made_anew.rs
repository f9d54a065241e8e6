//! The underlay device of a node that clients come to is made anew, under the same name, while the agent runs.

use std::process::Command;

use anyhow::Result;
use overlay_harness::{Lab, Node, eventually};

use super::{Hook, attach_backend, cluster, create_service, lead_to, targets};
use crate::steps::SOON;

const PORT: u16 = 8080;

#[test]
fn xdp_serves_on_a_device_that_was_made_anew() {
    Lab::run(Hook::Xdp.three_nodes(), |lab| {
        let [n1, _, n3]: [&Node; 3] = lab.nodes();
        let outside = cluster(lab)?;
        create_service(n1, "web", PORT)?;
        let _backend = attach_backend(lab, n1, "web", "a", "1")?;
        let targets = targets(&[n3], PORT);
        lead_to(&outside, &targets, &["a"])?;
        make_anew(lab, n3)?;
        // The new device's counters begin at nothing.
        eventually("XDP serves on the new device", SOON, || {
            lead_to(&outside, &targets, &["a"])?;
            Hook::Xdp.has_served(n3)
        })
    });
}

/// With the same addresses, and joined to the switch as before.
fn make_anew(lab: &Lab, node: &Node) -> Result<()> {
    let (switch, port) = (lab.switch()?, node.name());
    switch.ip(&format!("link delete {port}"))?;
    switch.ip(&format!("link add {port} type veth peer name eth0 netns {}", node.netns()))?;
    // What comes is as from a wire, and what XDP sends is taken.
    switch.output(Command::new("ethtool").args(["-K", port, "tx", "off", "gro", "on"]))?;
    switch.ip(&format!("link set {port} master br0 up"))?;
    node.netns().ip(&format!("address add {}/24 dev eth0", node.address(false)))?;
    node.netns().ip(&format!("address add {}/64 dev eth0 nodad", node.address(true)))?;
    node.netns().ip("link set eth0 up")?;
    node.netns().ip("route add default via 198.51.100.254")?;
    node.netns().ip("route add default via 2001:db8::fe").map(drop)
}
