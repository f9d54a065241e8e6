//! Whoever asks for what cannot be is told the cause, and what to do.

use anyhow::{Result, ensure};
use overlay_harness::{Lab, Node, Topology};

use crate::steps::{Holder, SUBNETS, create_network, refused};

#[test]
fn refusals_name_the_cause_and_what_to_do() {
    Lab::run(Topology::of(1), |lab| {
        let [n1] = lab.nodes();
        n1.start()?;
        a_node_without_a_cluster_says_so(n1)?;

        n1.init_cluster()?;
        n1.wait_ready(overlay_harness::lab::FORMING)?;
        refused(n1, &["cluster", "init", "--advertise-addr", &n1.addr().to_string()], &["cluster"])?;
        create_network(n1, "blue", &[], &[n1])?;
        refused(n1, &["network", "create", "blue"], &["blue"])?;
        refused(n1, &["network", "create", "green", "--subnet", SUBNETS[0]], &[SUBNETS[0], "blue"])?;
        refused(
            n1,
            &["network", "create", "green", "--subnet", "10.77.0.128/25"],
            &["10.77.0.128/25", "blue"],
        )?;
        refused(n1, &["network", "create", "green", "--subnet", "198.51.100.0/25"], &["198.51.100.0/2"])?;
        refused(n1, &["network", "inspect", "gren"], &["gren"])?;

        let web = lab.attach(n1, "blue", "web", &[])?;
        let attach = |netns: &str, network: &str, name: &str, flags: &[&str], words: &[&str]| {
            let base = ["endpoint", "attach", "--netns", netns, "--network", network, "--name", name];
            refused(n1, &[&base[..], flags].concat(), words)
        };
        attach(web.netns.name(), "blue", "web2", &[], &["blue"])?;
        let other = lab.namespace("other")?;
        attach(other.name(), "blue", "web", &[], &["web"])?;
        attach(other.name(), "gren", "other", &[], &["gren"])?;
        attach("no-such-namespace", "blue", "other", &[], &["no-such-namespace"])?;
        attach(other.name(), "blue", "other", &["--ip", &web.ip4().to_string()], &[&web.ip4().to_string()])?;
        attach(other.name(), "blue", "other", &["--ip", "10.78.0.5"], &["10.78.0.5"])?;
        ensure!(other.interfaces()? == ["lo"], "a refused attach left {:?}", other.interfaces()?);
        refused(n1, &["network", "rm", "blue"], &["blue", "web"])?;
        refused(n1, &["endpoint", "detach", "blue/wib"], &["wib"])
    });
}

#[test]
fn a_taken_port_names_its_holder() {
    Lab::run(Topology::of(1), |lab| {
        let [n1] = lab.nodes();
        for (socket, port) in [("UDP4-RECV:4789", "4789"), ("TCP4-LISTEN:7946", "7946")] {
            let holder = Holder::of(n1.netns(), socket)?;
            start_fails(n1, &[port, &holder.to_string()])?;
        }
        n1.start()
    });
}

fn a_node_without_a_cluster_says_so(node: &Node) -> Result<()> {
    let status = node.status()?;
    ensure!(status.node.is_none() && !status.ready && !status.waiting_for.is_empty(), "{status:?}");
    refused(node, &["network", "create", "blue"], &["cluster"])
}

fn start_fails(node: &Node, words: &[&str]) -> Result<()> {
    let (succeeded, said) = node.run_agent(&[])?;
    ensure!(!succeeded, "the agent started: {said}");
    for word in [&["error: ", "hint: "], words].concat() {
        ensure!(said.contains(word), "the agent does not say {word:?} but:\n{said}");
    }
    Ok(())
}
