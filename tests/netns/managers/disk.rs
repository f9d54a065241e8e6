//! A manager whose disk is full: its role ends, all else goes on, and it comes back once there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::{Lab, Node, Topology, eventually};

use super::{create_soon, know, promote};
use crate::steps::{SOON, attach_each, create_network, talk};

/// A small disk of its own at a folder, for as long as this is here.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        let disk = Self(at.to_owned());
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at))?;
        Ok(disk)
    }

    fn fill(&self) -> Result<()> {
        // It ends when there is no room any more.
        let zeros = &mut std::io::repeat(0);
        let filled = std::io::copy(zeros, &mut std::fs::File::create(self.0.join("filler"))?);
        ensure!(filled.is_err(), "the disk is not full");
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as the agent still has its files open.
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

#[test]
fn a_full_disk_ends_the_role_alone_and_room_brings_it_back() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let disk = SmallDisk::mount(&n1.state_dir())?;
        lab.form_cluster()?;
        promote(n1, &[n2, n3])?;
        create_network(n1, "blue", &[], &nodes)?;
        let [on_n1, on_n2, _] = attach_each(lab, "blue", nodes)?;

        disk.fill()?;
        // The file has some room yet.
        let large = format!("large={}", "x".repeat(100_000));
        for number in 0..100 {
            let name = format!("net{number}");
            // That of which the leader's disk fails may or may not be made.
            n2.ctl_output(&["network", "create", &name, "--label", &large])?;
            if n1.log().contains("role of this node does not run") {
                break;
            }
        }
        eventually("the role ends, and says why", SOON, || {
            let log = n1.log();
            let said = log.lines().filter(|line| line.contains("role of this node does not run")).count();
            ensure!(said == 1 && log.contains("No space left"), "it is said {said} times: {log}");
            Ok(())
        })?;
        create_soon(n3, "meanwhile")?;
        talk(&on_n1, &on_n2)?;
        n1.ctl(&["network", "create", "through-another"])?;

        // With room again, it counts again: one of the others may be away.
        disk.empty()?;
        know(&[n1], "meanwhile")?;
        n3.kill()?;
        create_soon(n2, "with-n1")?;
        know(&[n1], "with-n1")
    });
}
