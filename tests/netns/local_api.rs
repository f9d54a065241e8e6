//! Who may use an agent's socket, and what its log says of who did.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Group;
use overlay_harness::{Lab, Topology, binaries};

/// A group that every system has, and a user without rights who is not in it.
const GROUP: &str = "daemon";
const NOBODY: u32 = 65534;

#[test]
fn the_groups_members_may_ask_and_are_named() {
    Lab::run(Topology::of(1).config("socket_group = \"daemon\"\n"), |lab| {
        let [n1] = lab.nodes();
        lab.form_cluster()?;
        let group = Group::from_name(GROUP)?.context("no such group")?.gid.as_raw();
        let metadata = n1.socket().metadata()?;
        ensure!((metadata.gid(), metadata.mode() & 0o777) == (group, 0o660), "{metadata:?}");

        // Where somebody without rights can run it.
        let program = lab.folder().join("overlayctl");
        std::fs::copy(binaries::overlayctl()?, &program)?;
        for folder in [lab.folder().to_owned(), n1.socket().parent().context("a folder")?.to_owned()] {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
        }
        let ask = |group: u32, args: &[&str]| -> Result<Output> {
            let mut command = Command::new(&program);
            command.uid(NOBODY).gid(group).arg("--socket").arg(n1.socket()).args(args);
            Ok(command.output()?)
        };
        let created = ask(group, &["network", "create", "blue"])?;
        ensure!(created.status.success(), "{created:?}");
        let refused = ask(NOBODY, &["network", "rm", "blue"])?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success() && said.contains("hint: "), "{said}");
        n1.ctl(&["network", "rm", "blue"])?;

        let log = n1.log();
        let line = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(line(&["user=nobody", "command=overlayctl", "POST", "/v1/networks", "blue"]), "{log}");
        ensure!(line(&["user=root", "DELETE", "/v1/networks/blue", "status=200"]), "{log}");
        ensure!(!log.contains("user=nobody method=DELETE"), "{log}");
        Ok(())
    });
}

#[test]
fn tokens_are_not_logged() {
    Lab::run(Topology::of(2), |lab| {
        let token = lab.form_cluster_of(&lab.all_nodes().iter().collect::<Vec<_>>())?;
        let secret = token.rsplit('-').next().context("no secret in it")?.to_owned();
        for node in lab.all_nodes() {
            ensure!(!node.log().contains(&secret), "{}", node.log());
        }
        let [_, n2] = lab.nodes();
        ensure!(n2.log().contains("/v1/cluster/join"), "{}", n2.log());
        Ok(())
    });
}
