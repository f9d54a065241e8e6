//! The lab itself: what the other tests rest on.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::probe::{TcpProbe, UdpProbe};
use overlay_harness::traffic::{Ping, Responder, tcp_transfer, who_answers};
use overlay_harness::{Capture, Lab, Topology, capture, eventually};

/// Every kind of traffic that the tests use gets through between nodes, and fails where it cannot.
#[test]
fn traffic_between_nodes() {
    Lab::run(Topology::of(2), |lab| {
        let [n1, n2] = lab.nodes();
        let ipv6: IpAddr = "2001:db8::2".parse()?;
        let _responder = Responder::start(n2.netns(), "n2")?;
        for address in [n2.addr(), ipv6] {
            Ping::to(address).filling(1500).all_answered(n1.netns())?;
            ensure!(who_answers(n1.netns(), address, 1000)? == "n2");
            tcp_transfer(n1.netns(), n2.netns(), address, 3_000_001)?;
        }
        ensure!(
            Ping::to(ipv6).filling(1501).answered(n1.netns()).unwrap_or(0) == 0,
            "1,501 bytes fit into 1,500"
        );
        lab.cut(n2)?;
        Ping::to(n2.addr()).none_answered(n1.netns())?;
        ensure!(tcp_transfer(n1.netns(), n2.netns(), n2.addr(), 1).is_err(), "TCP over a link that is down");
        lab.mend(n2)?;
        eventually("the link is back", Duration::from_secs(10), || {
            Ping::to(n2.addr()).all_answered(n1.netns())
        })
    });
}

/// Probes count what a link that is down for a while swallows, and a stream survives it.
#[test]
fn probes_count_losses() {
    Lab::run(Topology::of(2), |lab| {
        let [n1, n2] = lab.nodes();
        let _responder = Responder::start(n2.netns(), "n2")?;
        let udp = UdpProbe::start(n1.netns(), n2.addr())?;
        let tcp = TcpProbe::start(n1.netns(), n2.netns(), n2.addr())?;
        udp.wait_for_more(50)?;
        lab.cut(n2)?;
        Ping::to(n2.addr()).none_answered(n1.netns())?;
        lab.mend(n2)?;
        udp.wait_for_more(50)?;
        tcp.wait_for_more(1_000_000)?;
        ensure!(udp.stop()?.lost > 0, "a second without a link, and nothing lost");
        tcp.stop()?;
        let undisturbed = UdpProbe::start(n1.netns(), n2.addr())?;
        undisturbed.wait_for_more(200)?;
        let report = undisturbed.stop()?;
        ensure!(report.lost == 0, "{report:?} without a disturbance");
        Ok(())
    });
}

/// A VXLAN packet is recognized on the wire; anything else to that port is not.
#[test]
fn captures_show_vxlan() {
    Lab::run(Topology::of(2), |lab| {
        let [n1, n2] = lab.nodes();
        let capture = Capture::start(lab.switch()?, n2.name(), "udp", &lab.folder().join("wire.pcap"))?;
        let header = [&[8, 0, 0, 0, 1, 2, 3, 0][..], b"frame"].concat();
        n1.netns().run(|| {
            let socket = std::net::UdpSocket::bind((n1.addr(), 0))?;
            socket.send_to(&header, (n2.addr(), 4789))?;
            socket.send_to(b"no VXLAN at all", (n2.addr(), 4789))?;
            Ok(())
        })?;
        Ping::to(n2.addr()).all_answered(n1.netns())?;
        let frames = capture.stop()?;
        ensure!(frames.len() == 2, "{} packets", frames.len());
        let packets: Vec<_> = frames.iter().filter_map(|frame| capture::vxlan(frame, 4789)).collect();
        let [packet] = &packets[..] else { anyhow::bail!("{packets:?}") };
        ensure!(
            (packet.source, packet.destination, packet.vni) == (n1.addr(), n2.addr(), 0x01_02_03),
            "{packet:?}"
        );
        ensure!(packet.frame == b"frame", "{packet:?}");
        Ok(())
    });
}

/// After a panic nothing of the lab is left but the evidence.
#[test]
fn nothing_is_left_after_a_panic() -> Result<()> {
    let (mut folder, mut namespaces) = (None, Vec::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        Lab::run(Topology::of(2), |lab| {
            let [n1, n2] = lab.nodes();
            folder = Some(lab.folder().to_owned());
            namespaces =
                vec![lab.switch()?.clone(), n1.netns().clone(), n2.netns().clone(), lab.namespace("web")?];
            panic!("as a failing test does")
        });
    }));
    ensure!(panicked.is_err());
    let folder = folder.context("no lab was built")?;
    ensure!(!folder.exists(), "{} is left", folder.display());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains(&folder.display().to_string()), "mounts are left:\n{mounts}");
    for netns in namespaces {
        ensure!(!netns.path().exists(), "{netns} is left");
    }
    Ok(())
}

/// What a killed run left behind, the next lab removes; what a living one uses, it leaves alone.
#[test]
fn leftovers_of_killed_runs_are_swept() -> Result<()> {
    let gone = {
        let mut child = Command::new("true").spawn()?;
        child.wait()?;
        child.id()
    };
    let living = std::process::id();
    let names =
        |pid| (format!("ovlab-{pid}-999-n1"), std::env::temp_dir().join(format!("overlay-lab-{pid}-999")));
    for pid in [gone, living] {
        let (netns, folder) = names(pid);
        overlay_harness::command::ip(&format!("netns add {netns}"))?;
        std::fs::create_dir_all(folder.join("n1"))?;
    }
    overlay_harness::sweep();
    let there = |pid| (Path::new("/run/netns").join(names(pid).0).exists(), names(pid).1.exists());
    let (after_killed, after_living) = (there(gone), there(living));
    overlay_harness::command::ip(&format!("netns delete {}", names(living).0))?;
    std::fs::remove_dir_all(names(living).1)?;
    ensure!(after_killed == (false, false), "leftovers stay: {after_killed:?}");
    ensure!(after_living == (true, true), "a living run's things are gone: {after_living:?}");
    Ok(())
}
