//! An agent may be replaced by one whose BPF programs and maps are others: the data path goes on.

use std::path::Path;

use anyhow::{Result, ensure};
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology, binaries, eventually};

use crate::steps::{SOON, probed_mesh};

#[test]
fn nothing_is_lost_when_the_maps_change_their_layout() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let releases = [binaries::overlayd_next()?, binaries::overlayd()?];
        lab.form_cluster()?;
        let mesh = probed_mesh(lab, nodes)?;
        let mut layouts = [layout(nodes[0])?, String::new()];
        // To the next release, one node after the other, and back again.
        for release in releases {
            for node in nodes {
                node.stop()?;
                node.install(release.clone());
                node.start()?;
                node.wait_ready(FORMING)?;
                mesh.flows()?;
                let now = eventually("the earlier layout's maps are gone", SOON, || layout(node))?;
                ensure!(now != layouts[0], "{} has the same layout as before: {now}", node.name());
                layouts[1] = now;
                let failures = node.status()?.failures;
                ensure!(failures.is_empty(), "{failures:?}");
            }
            layouts.reverse();
        }
        mesh.stop_without_loss()
    });
}

/// The one layout that maps are pinned in.
fn layout(node: &Node) -> Result<String> {
    let mut layouts: Vec<_> = node
        .pins()
        .iter()
        .filter(|pin| pin.parent().is_some_and(|folder| folder.ends_with("maps")))
        .filter_map(|pin| pin.parent().and_then(Path::parent).map(|layout| layout.display().to_string()))
        .filter_map(|path| path.rsplit('/').next().map(str::to_owned))
        .collect();
    layouts.dedup();
    let [layout] = &layouts[..] else { anyhow::bail!("pinned are {layouts:?}") };
    Ok(layout.clone())
}
