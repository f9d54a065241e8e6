//! A manager's disk that is full, or has gone read-only, stops its role, and nothing else.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Mesh, Node, Topology, eventually};

use super::{create_soon, faults, know};
use crate::steps::{SOON, attach_each, create_network, talk};

/// A node's state directory, on a file system of its own. The lab unmounts what is in its folder.
trait Disk: Sized {
    /// What the kernel says of its failure.
    const FAILURE: &str;

    fn mount(node: &Node) -> Result<Self>;
    fn fail(&self) -> Result<()>;
    fn mend(&self) -> Result<()>;
}

/// One without much room.
struct Small {
    filler: PathBuf,
}

impl Disk for Small {
    const FAILURE: &str = "No space left on device";

    fn mount(node: &Node) -> Result<Self> {
        let dir = node.state_dir();
        std::fs::create_dir_all(&dir)?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some("size=32m"))
            .context("mounting a tmpfs")?;
        Ok(Self { filler: dir.join("filler") })
    }

    /// Leaves no room.
    fn fail(&self) -> Result<()> {
        let mut file = File::create(&self.filler)?;
        let piece = [0; 4096];
        while file.write_all(&piece).is_ok() {}
        Ok(())
    }

    fn mend(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.filler)?)
    }
}

/// One that Linux makes read-only once it finds an error in it, under the files that are open.
struct Faulty {
    dir: PathBuf,
    image: PathBuf,
}

impl Faulty {
    const BYTES: u64 = 64 << 20;

    fn run(program: &str, arguments: &[&str], files: &[&PathBuf]) -> Result<()> {
        let output =
            Command::new(program).args(arguments).args(files).output().context(program.to_owned())?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn mounted(dir: PathBuf, image: PathBuf) -> Result<Self> {
        Self::run("mount", &["-o", "loop,errors=remount-ro"], &[&image, &dir])?;
        Ok(Self { dir, image })
    }

    /// The device, as the kernel names it.
    fn device(&self) -> Result<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let dir = self.dir.display().to_string();
        let line =
            mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(&dir)).context("not mounted")?;
        let device = line.split(' ').next().and_then(|device| device.strip_prefix("/dev/"));
        device.map(str::to_owned).with_context(|| line.to_owned())
    }
}

impl Disk for Faulty {
    const FAILURE: &str = "Read-only file system";

    fn mount(node: &Node) -> Result<Self> {
        let dir = node.state_dir();
        std::fs::create_dir_all(&dir)?;
        let image = dir.with_extension("img");
        File::create(&image)?.set_len(Self::BYTES)?;
        Self::run("mkfs.ext4", &["-q"], &[&image])?;
        Self::mounted(dir, image)
    }

    /// Has the file system find an error.
    fn fail(&self) -> Result<()> {
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", self.device()?);
        std::fs::write(&trigger, "the lab").context(trigger)
    }

    /// Puts another in its place that has the same on it: this one stays as it is for as long as a file on it is open.
    fn mend(&self) -> Result<()> {
        umount2(&self.dir, MntFlags::MNT_DETACH)?;
        let image = self.dir.with_extension("mended");
        std::fs::copy(&self.image, &image)?;
        Self::mounted(self.dir.clone(), image).map(drop)
    }
}

#[test]
fn a_follower_with_a_full_disk_is_no_manager_until_there_is_room() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        stops_the_role::<Small>(lab, n3, [n1, n2])
    });
}

#[test]
fn a_leader_with_a_full_disk_is_no_manager_until_there_is_room() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        stops_the_role::<Small>(lab, n1, [n2, n3])
    });
}

#[test]
fn a_follower_whose_disk_is_read_only_is_no_manager_until_it_has_another() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        stops_the_role::<Faulty>(lab, n3, [n1, n2])
    });
}

#[test]
fn a_leader_whose_disk_is_read_only_is_no_manager_until_it_has_another() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        stops_the_role::<Faulty>(lab, n1, [n2, n3])
    });
}

fn stops_the_role<D: Disk>(lab: &Lab, victim: &Node, others: [&Node; 2]) -> Result<()> {
    let nodes: [&Node; 3] = lab.nodes();
    let disk = D::mount(victim)?;
    lab.form_managers()?;
    faults::whole(&nodes)?;
    create_network(nodes[0], "blue", &[], &nodes)?;
    let endpoints = attach_each(lab, "blue", nodes)?;
    let probes = Mesh::start(&endpoints.iter().collect::<Vec<_>>())?;

    disk.fail()?;
    let mut number = 0;
    let cause = eventually("its role stops", SOON * 3, || {
        number += 1;
        let label = format!("written={number}");
        others[0].ctl_output(&["node", "update", others[0].name(), "--label-add", &label])?;
        role_error(victim)?.context("it runs")
    })?;
    ensure!(cause.contains(D::FAILURE), "it says: {cause}");
    let status = victim.status()?;
    ensure!(status.waiting_for.iter().any(|line| line.contains(&cause)), "{status:?}");
    let said = victim.ctl(&["status"])?;
    ensure!(said.contains("manager, does not run"), "{said}");
    create_soon(others[1], "meanwhile")?;
    know(&nodes, "meanwhile")?;
    probes.flows()?;

    disk.mend()?;
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
