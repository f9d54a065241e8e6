//! A manager's disk that is full stops its role, and nothing else.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Mesh, Node, Topology, eventually};

use super::{create_soon, faults, know};
use crate::steps::{SOON, attach_each, create_network, talk};

/// A node's state directory, on a file system of its own. The lab unmounts what is in its folder.
struct SmallDisk {
    filler: PathBuf,
}

impl SmallDisk {
    fn mount(node: &Node) -> Result<Self> {
        let dir = node.state_dir();
        std::fs::create_dir_all(&dir)?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some("size=32m"))
            .context("mounting a tmpfs")?;
        Ok(Self { filler: dir.join("filler") })
    }

    /// Leaves no room.
    fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(&self.filler)?;
        let piece = [0; 4096];
        while file.write_all(&piece).is_ok() {}
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.filler)?)
    }
}

#[test]
fn a_follower_with_a_full_disk_is_no_manager_until_there_is_room() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        full(lab, n3, [n1, n2])
    });
}

#[test]
fn a_leader_with_a_full_disk_is_no_manager_until_there_is_room() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        full(lab, n1, [n2, n3])
    });
}

fn full(lab: &Lab, victim: &Node, others: [&Node; 2]) -> Result<()> {
    let nodes: [&Node; 3] = lab.nodes();
    let disk = SmallDisk::mount(victim)?;
    lab.form_managers()?;
    faults::whole(&nodes)?;
    create_network(nodes[0], "blue", &[], &nodes)?;
    let endpoints = attach_each(lab, "blue", nodes)?;
    let probes = Mesh::start(&endpoints.iter().collect::<Vec<_>>())?;

    disk.fill()?;
    let mut number = 0;
    let cause = eventually("its role stops", SOON * 3, || {
        number += 1;
        let label = format!("written={number}");
        others[0].ctl_output(&["node", "update", others[0].name(), "--label-add", &label])?;
        role_error(victim)?.context("it runs")
    })?;
    ensure!(cause.contains("No space left on device"), "it says: {cause}");
    let status = victim.status()?;
    ensure!(status.waiting_for.iter().any(|line| line.contains(&cause)), "{status:?}");
    let said = victim.ctl(&["status"])?;
    ensure!(said.contains("manager, does not run"), "{said}");
    create_soon(others[1], "meanwhile")?;
    know(&nodes, "meanwhile")?;
    probes.flows()?;

    disk.free()?;
    eventually("its role runs again", SOON * 2, || {
        let role = victim.status()?.manager_role.context("it is no manager")?;
        ensure!(role.running && role.error.is_none(), "{role:?}");
        Ok(())
    })?;
    faults::whole(&nodes)?;
    create_soon(victim, "after")?;
    know(&nodes, "after")?;
    let late = lab.attach(victim, "blue", "late", &[])?;
    talk(&late, &endpoints[0])?;
    victim.stop()?;
    victim.start()?;
    victim.wait_ready(FORMING)?;
    know(&[victim], "after")?;
    talk(&late, &endpoints[1])?;
    probes.stop_without_loss()
}

fn role_error(node: &Node) -> Result<Option<String>> {
    Ok(node.status()?.manager_role.and_then(|role| role.error))
}
