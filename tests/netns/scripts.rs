//! The scripts for people: they work as they are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::binaries;
use overlay_harness::command::output;

#[test]
fn the_demo_shows_what_it_says() -> Result<()> {
    let said = output(script("demo.sh")?.env("OVERLAY_LAB", unique("demo")))?;
    for shown in [
        "overlayctl cluster init",
        "overlayctl network create mynet",
        "4789",
        "vni",
        "0% packet loss",
        "sold bread to 198.51.100.100",
        "sold wine to [2001:",
        "xdp_redirect: ",
    ] {
        ensure!(said.contains(shown), "the demo does not show {shown:?}:\n{said}");
    }
    nothing_is_left(&unique("demo"))
}

#[test]
fn a_lab_to_play_with_goes_up_and_down() -> Result<()> {
    let name = unique("play");
    let lab = |arguments: &[&str]| output(script("lab.sh")?.args(arguments).env("OVERLAY_LAB", &name));
    let result = lab(&["up"]).and_then(|_| lab(&["shell", "n2", "overlayctl", "node", "ls"]));
    let down = lab(&["down"]);
    let nodes = result?;
    ensure!(["n1", "n2", "n3"].iter().all(|node| nodes.contains(node)), "{nodes}");
    down?;
    nothing_is_left(&name)
}

fn script(name: &str) -> Result<Command> {
    let programs: PathBuf = binaries::overlayd()?.parent().context("the programs' folder")?.into();
    let mut command = Command::new(binaries::workspace().join("netns-scripts").join(name));
    command.env("OVERLAY_BIN_DIR", programs);
    Ok(command)
}

/// A lab name that no other run uses.
fn unique(purpose: &str) -> String {
    format!("{purpose}{}", std::process::id())
}

fn nothing_is_left(lab: &str) -> Result<()> {
    let namespaces = output(Command::new("ip").args(["netns", "list"]))?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let left: Vec<_> = namespaces.lines().chain(mounts.lines()).filter(|line| line.contains(lab)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
