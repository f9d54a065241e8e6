//! Services as users see them: created anywhere, the same everywhere, and drained for sure.

use anyhow::{Context as _, Result, ensure};
use overlay::api::{BackendRow, BackendState, NodeRow, ServiceDetail, ServiceRow};
use overlay::model::Availability;
use overlay_harness::{Lab, Node, Topology, eventually};

use crate::steps::{Holder, SOON, create_network, refused};

#[test]
fn a_service_is_the_same_on_every_node() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        create_network(n1, "green", &["--allow-overlap"], &nodes)?;
        n1.ctl(&["service", "create", "web", "--network", "blue", "-p", "8080:80", "-p", "53:5353/udp"])?;
        let made = detail(n1, "web")?.service;
        ensure!(made.vips.len() == 2, "one of each family: {:?}", made.vips);
        for node in nodes {
            eventually(&format!("{} knows the service", node.name()), SOON, || {
                ensure!(detail(node, "web")?.service == made, "{:?}", detail(node, "web")?);
                Ok(())
            })?;
        }
        ensure!(n3.network("blue")?.services[0].vips.len() == 2, "{:?}", n3.network("blue")?.services);

        let attach = |node: &Node, network, name, flags: &[&str]| {
            lab.attach(node, network, name, &[&["--service", "web"], flags].concat())
        };
        attach(n1, "blue", "web1", &[])?;
        attach(n3, "blue", "web3", &["--weight", "7"])?;
        lab.attach(n2, "blue", "other", &[])?;
        backends_are(&nodes, &[("web1", "n1", 1), ("web3", "n3", 7)])?;
        let [row] = n2.ctl_json::<[ServiceRow; 1]>(&["service", "ls"])?;
        ensure!((row.backends, row.backends_active) == (2, 2), "{row:?}");

        n1.ctl(&["service", "update", "web", "--publish-rm", "8080", "--source-ip", "snat"])?;
        let updated = detail(n1, "web")?.service;
        ensure!(
            (updated.id, &updated.vips, updated.publish.len()) == (made.id, &made.vips, 1),
            "{updated:?}"
        );
        n1.ctl(&["service", "rm", "web"])?;
        eventually("the service is gone everywhere", SOON, || {
            nodes.iter().try_for_each(|node| node.ctl_fails(&["service", "ps", "web"]).map(drop))
        })?;
        n1.ctl(&["service", "create", "web", "--network", "blue"])?;
        backends_are(&nodes, &[("web1", "n1", 1), ("web3", "n3", 7)])
    });
}

#[test]
fn what_cannot_be_a_service_or_a_backend_is_refused() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        create_network(n1, "green", &["--allow-overlap"], &nodes)?;
        let create = |node: &Node, name: &str, ports: &str, words: &[&str]| {
            refused(node, &["service", "create", name, "--network", "blue", "--publish", ports], words)
        };
        n1.ctl(&["service", "create", "web", "--network", "blue", "--publish", "8000-8010:80-90"])?;
        for odd in ["", "we b", "we/b", "wéb", "web;rm -rf", "$(web)", "-web", ".", &"w".repeat(64)] {
            let said = n1.ctl_fails(&["service", "create", "--network", "blue", "--", odd])?;
            ensure!(said.contains("is not a name"), "{odd:?}: {said}");
        }
        create(n1, "web", "9000:80", &["web", "exists"])?;
        create(n1, "api", "8005-8020:80", &["TCP port 8005", "web"])?;
        create(n1, "api", "2377:80", &["TCP port 2377", "manager API"])?;
        create(n1, "api", "4789:80/udp", &["UDP port 4789", "data port"])?;
        refused(n1, &["service", "create", "api", "--network", "gren"], &["gren"])?;

        let listener = Holder::of(n2.netns(), "TCP4-LISTEN:9000")?;
        let holder = listener.to_string();
        for node in nodes {
            create(node, "api", "8999-9001:80", &["TCP port 9000", &holder, "node n2"])?;
        }
        n1.ctl(&[
            "service",
            "create",
            "host",
            "--network",
            "blue",
            "-p",
            "published=9000,target=80,mode=host",
        ])?;
        let on_host = |netns: &str| {
            let arguments =
                ["endpoint", "attach", "--network", "blue", "--service", "host", "--netns", netns];
            [&arguments[..], &["--name", "h"]]
                .concat()
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let beside = lab.namespace("beside")?;
        let words = on_host(beside.name());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(n2, &words, &["TCP port 9000", &holder])?;
        n1.ctl(&["service", "rm", "host"])?;
        drop(listener);
        let loopback = Holder::of(n2.netns(), "TCP4-LISTEN:9000,bind=127.0.0.1")?;
        n1.ctl(&["service", "create", "api", "--network", "blue", "--publish", "9000:80"])?;
        drop(loopback);

        let attach = |network: &str, service: &str, words: &[&str]| {
            let base = ["endpoint", "attach", "--netns", beside.name(), "--name", "b"];
            refused(n2, &[&base[..], &["--network", network, "--service", service]].concat(), words)
        };
        attach("blue", "wib", &["wib", "service ls"])?;
        attach("green", "web", &["green", "blue", "--network-add"])?;
        ensure!(beside.interfaces()? == ["lo"], "a refused attach left {:?}", beside.interfaces()?);
        refused(n1, &["network", "rm", "blue"], &["blue", "service"])?;
        let vip = detail(n1, "web")?.service.vips[0].address.to_string();
        let at_vip = ["endpoint", "attach", "--netns", beside.name(), "--network", "blue", "--name", "b"];
        refused(n2, &[&at_vip[..], &["--ip", &vip]].concat(), &[&vip, "web"])
    });
}

#[test]
fn a_drain_is_confirmed_by_every_node_or_the_missing_one_is_named() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        n1.ctl(&["service", "create", "web", "--network", "blue"])?;
        for (node, name) in [(n1, "web1"), (n2, "web2")] {
            lab.attach(node, "blue", name, &["--service", "web"])?;
        }
        backends_are(&nodes, &[("web1", "n1", 1), ("web2", "n2", 1)])?;

        n1.ctl(&["service", "drain", "web.web1", "--wait"])?;
        for node in nodes {
            // Whoever has confirmed shows it, without waiting for anything.
            ensure!(state(node, "web1")? == BackendState::Draining, "on {}", node.name());
            ensure!(state(node, "web2")? == BackendState::Active, "on {}", node.name());
        }
        refused(n1, &["service", "drain", "web.web9"], &["web.web9", "service ps"])?;

        n3.freeze(true)?;
        let said = n1.ctl_fails(&["service", "drain", "web.web2", "--wait", "--timeout", "2"])?;
        ensure!(said.contains("n3") && said.contains("hint: "), "it names the silent node:\n{said}");
        ensure!(!said.contains("n2"), "and no other:\n{said}");
        let said = n1.ctl_says(&["service", "create", "api", "--network", "blue", "-p", "80:80"])?;
        ensure!(said.contains("warning: ") && said.contains("n3"), "{said}");
        n3.freeze(false)?;
        n1.ctl(&["service", "drain", "web.web2", "--undo", "--wait"])?;

        n1.ctl(&["node", "update", "n2", "--availability", "drain", "--wait"])?;
        for node in nodes {
            ensure!(state(node, "web2")? == BackendState::NodeDraining, "on {}", node.name());
        }
        let rows: Vec<NodeRow> = n3.ctl_json(&["node", "ls"])?;
        let row = rows.iter().find(|row| row.hostname == "n2").context("n2 is not listed")?;
        ensure!(row.availability == Availability::Drain, "{row:?}");
        let beside = lab.namespace("beside")?;
        let attach = ["endpoint", "attach", "--netns", beside.name(), "--network", "blue", "--name", "b"];
        refused(n2, &attach, &["n2", "drain", "--availability active"])?;
        n1.ctl(&["node", "update", "n2", "--availability", "active", "--wait"])?;
        n2.ctl(&attach)?;
        ensure!(state(n1, "web2")? == BackendState::Active);
        Ok(())
    });
}

pub(crate) fn detail(node: &Node, service: &str) -> Result<ServiceDetail> {
    let text = node.ctl(&["service", "inspect", service])?;
    let [detail] = serde_json::from_str::<[ServiceDetail; 1]>(&text).with_context(|| text.clone())?;
    Ok(detail)
}

pub(crate) fn state(node: &Node, backend: &str) -> Result<BackendState> {
    let backends = detail(node, "web")?.backends;
    let row = backends.iter().find(|row| row.name.as_str() == backend).context("it is not listed")?;
    Ok(row.state)
}

/// Waits until each of these nodes lists exactly these backends of `web`: name, node and weight.
fn backends_are(nodes: &[&Node], wanted: &[(&str, &str, u16)]) -> Result<()> {
    for node in nodes {
        eventually(&format!("{} lists the backends {wanted:?}", node.name()), SOON, || {
            let rows: Vec<BackendRow> = node.ctl_json(&["service", "ps", "web"])?;
            let listed: Vec<_> =
                rows.iter().map(|row| (row.name.as_str(), row.hostname.as_str(), row.weight.get())).collect();
            ensure!(listed == wanted, "it lists {listed:?}");
            Ok(())
        })?;
    }
    Ok(())
}
