//! Managers that are lost for good: one that is left begins anew, or a backup does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use overlay::api::NodeRow;
use overlay::model::Service;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Mesh, Node, Topology, eventually};

use super::{create_soon, know, of_three_managers};
use crate::steps::{SOON, attach_each, create_network, refused, talk};

#[test]
fn the_last_of_three_managers_begins_anew() {
    Lab::run(Topology::of(4), |lab| {
        let nodes: [&Node; 4] = lab.nodes();
        let [n1, n2, n3, worker] = nodes;
        of_three_managers(lab)?;
        create_network(n1, "blue", &[], &nodes)?;
        n1.ctl(&["service", "create", "web", "--network", "blue"])?;
        let [_, _, on_n3, on_worker] = attach_each(lab, "blue", nodes)?;
        let probes = Mesh::start(&[&on_n3, &on_worker])?;

        n1.kill()?;
        n2.kill()?;
        let token = n3.ctl(&["cluster", "init", "--force-new-cluster", "-q"])?;
        n3.wait_ready(FORMING)?;
        n3.network("blue").context("what was made before is there")?;
        let services: Vec<Service> = n3.ctl_json(&["service", "ls"])?;
        ensure!(services.iter().any(|service| service.name.as_str() == "web"), "{services:?}");
        create_network(n3, "after", &["--allow-overlap"], &[n3, worker])?;
        let [after_n3, after_worker] = attach_each(lab, "after", [n3, worker])?;
        probes.flows()?;

        // The two that come back still take themselves for the majority of the managers that were.
        n1.start()?;
        n2.start()?;
        eventually("they agree with each other, or say that they do not", SOON * 2, || {
            let output = n1.ctl_output(&["network", "create", "apart"])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success() || said.contains("hint:"), "{said}");
            Ok(())
        })?;
        create_soon(n3, "undisturbed")?;
        know(&[n3, worker], "undisturbed")?;
        probes.flows()?;

        for node in [n1, n2] {
            node.ctl(&["cluster", "leave", "--force"])?;
            node.join_cluster(token.trim(), n3)?;
            node.wait_ready(FORMING)?;
            know(&[node], "undisturbed")?;
        }
        for node in nodes {
            ensure!(node.network("apart").is_err(), "{} has what the others made alone", node.name());
        }
        let back = lab.attach(n1, "blue", "back", &[])?;
        talk(&back, &on_n3)?;
        talk(&on_worker, &back)?;
        talk(&after_n3, &after_worker)?;
        let rows: Vec<NodeRow> = n3.ctl_json(&["node", "ls"])?;
        ensure!(rows.len() == 4, "{rows:?}");
        probes.stop_without_loss()
    });
}

#[test]
fn a_backup_brings_a_cluster_back_that_lost_all_managers() {
    Lab::run(Topology::of(4), |lab| {
        let nodes: [&Node; 4] = lab.nodes();
        let [n1, n2, n3, worker] = nodes;
        of_three_managers(lab)?;
        create_network(n1, "blue", &[], &nodes)?;
        let [_, _, _, on_worker] = attach_each(lab, "blue", nodes)?;
        let beside = lab.attach(worker, "blue", "beside", &[])?;
        talk(&on_worker, &beside)?;
        let probes = Mesh::start(&[&on_worker, &beside])?;

        let file = lab.folder().join("backup.json");
        let path = text(&file)?;
        n2.ctl(&["cluster", "backup", path])?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "its mode is {mode:o}");
        let refusal = n2.ctl_fails(&["cluster", "backup", path])?;
        ensure!(refusal.contains("exists"), "a backup is replaced: {refusal}");

        for node in [n1, n2, n3] {
            node.stop()?;
            let (succeeded, said) = node.run_agent(&["cleanup"])?;
            ensure!(succeeded, "cleanup: {said}");
        }
        n1.start()?;
        unusable(lab, n1, &std::fs::read_to_string(&file)?)?;
        let advertised = n1.addr().to_string();
        n1.ctl(&["cluster", "restore", path, "--advertise-addr", &advertised])?;
        n1.wait_ready(FORMING)?;
        n1.network("blue").context("what the backup has is there")?;
        create_soon(n1, "after")?;
        know(&[worker], "after").context("the worker follows the manager of the same address")?;
        worker.wait_ready(FORMING)?;

        let back = lab.attach(n1, "blue", "back", &[])?;
        talk(&back, &on_worker)?;
        talk(&beside, &back)?;
        let token = n1.ctl(&["cluster", "join-token", "-q", "manager"])?;
        for node in [n2, n3] {
            node.start()?;
            node.join_cluster(token.trim(), n1)?;
            node.wait_ready(FORMING)?;
        }
        super::faults::whole(&[n1, n2, n3])?;
        create_soon(n3, "whole")?;
        know(&nodes, "whole")?;
        probes.stop_without_loss()
    });
}

/// What is no sound backup is refused, and the node stays in no cluster.
fn unusable(lab: &Lab, node: &Node, backup: &str) -> Result<()> {
    let damaged = backup.replacen("blue", "grue", 1);
    let other = backup.replacen("\"format\": 1", "\"format\": 7", 1);
    for (backup, word) in [(damaged.as_str(), "damaged"), (&other, "format 7"), ("{}", "backup")] {
        let file = lab.folder().join("unusable.json");
        std::fs::write(&file, backup)?;
        let advertised = node.addr().to_string();
        refused(node, &["cluster", "restore", text(&file)?, "--advertise-addr", &advertised], &[word])?;
    }
    ensure!(node.status()?.node.is_none(), "{:?}", node.status()?);
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the lab's folder is no text")
}
