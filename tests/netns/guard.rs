//! Only the data path itself may send to the data port: nobody on a node can forge what another node trusts.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use overlay_harness::{Attached, Lab, Netns, Node, Topology, eventually};

use crate::steps::{SOON, attach_each, create_network};

const DATA_PORT: u16 = 4789;
const PORT: u16 = 5005;

/// The reasons that such packets are counted under: on the node that they would leave, and on the one that they
/// never leave.
const LEAVING: &str = "foreign_sender";
const STAYING: [&str; 2] = ["not_from_underlay", "not_our_vtep"];

/// Nobody's user and group id.
const NOBODY: u32 = 65534;

/// How often the forged packet is sent, so that its counter stands out.
const TIMES: u64 = 20;

#[test]
fn an_unprivileged_process_cannot_forge_vxlan() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        let forged = lab.folder().join("forged");
        std::fs::write(&forged, forge(n1.network("blue")?.network.vni.get(), &a, &b)?)?;
        let inbox = b.netns.run(|| Ok(UdpSocket::bind((b.ip4(), PORT))?))?;
        inbox.set_read_timeout(Some(Duration::from_secs(5)))?;

        let before = dropped(n1, LEAVING)?;
        for _ in 0..TIMES {
            // It may be refused there and then, or its packet dropped later.
            let _ = send_as_nobody(n1.netns(), &forged, n2.addr());
        }
        // What was sent later arrives first, if the other never does.
        a.netns.run(|| Ok(UdpSocket::bind((a.ip4(), 0))?.send_to(b"real", (b.ip4(), PORT))?))?;
        ensure!(receive(&inbox)? == b"real", "the forged packet was delivered");
        eventually("the forged packets are counted", SOON, || {
            let after = dropped(n1, LEAVING)?;
            ensure!(after >= before + TIMES, "{LEAVING}: {before} before, {after} after");
            Ok(())
        })?;
        to_its_own_node(n2, &forged, &inbox)?;

        // The packet itself is good: where no guard stands, and the outer source is the same, it is delivered.
        let switch = lab.switch()?;
        switch.ip(&format!("address add {}/24 dev br0", n1.addr()))?;
        send_as_nobody(switch, &forged, n2.addr())?;
        ensure!(receive(&inbox)? == b"forged");
        Ok(())
    });
}

/// By loopback, which no guard stands at: to the node's own address, and to loopback's.
fn to_its_own_node(node: &Node, forged: &Path, inbox: &UdpSocket) -> Result<()> {
    for (to, reason) in [(node.addr(), STAYING[0]), (Ipv4Addr::LOCALHOST.into(), STAYING[1])] {
        let before = dropped(node, reason)?;
        for _ in 0..TIMES {
            send_as_nobody(node.netns(), forged, to)?;
        }
        eventually("what is forged to the own node is counted", SOON, || {
            let after = dropped(node, reason)?;
            ensure!(after >= before + TIMES, "{reason}: {before} before, {after} after");
            Ok(())
        })?;
    }
    inbox.set_nonblocking(true)?;
    let delivered = inbox.recv(&mut [0; 1500]).is_ok();
    inbox.set_nonblocking(false)?;
    ensure!(!delivered, "a packet that was forged to the own node was delivered");
    Ok(())
}

/// A datagram from one endpoint to the other, in its VXLAN header (RFC 7348, section 5).
fn forge(vni: u32, from: &Attached, to: &Attached) -> Result<Vec<u8>> {
    let (source, destination) = (&from.row.endpoint, &to.row.endpoint);
    let (source_ip, destination_ip) = source.ip4.zip(destination.ip4).context("IPv4 addresses")?;
    let builder = PacketBuilder::ethernet2(source.mac.bytes(), destination.mac.bytes())
        .ipv4(source_ip.octets(), destination_ip.octets(), 64)
        .udp(PORT, PORT);
    let [_, high, middle, low] = vni.to_be_bytes();
    let mut packet = vec![0x08, 0, 0, 0, high, middle, low, 0];
    builder.write(&mut packet, b"forged")?;
    Ok(packet)
}

fn send_as_nobody(from: &Netns, payload: &Path, to: IpAddr) -> Result<String> {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("cat < {} > /dev/udp/{to}/{DATA_PORT}", payload.display())]);
    from.output(shell.uid(NOBODY).gid(NOBODY))
}

fn receive(inbox: &UdpSocket) -> Result<Vec<u8>> {
    let mut buffer = [0; 1500];
    let length = inbox.recv(&mut buffer).context("nothing was delivered")?;
    Ok(buffer[..length].to_vec())
}

fn dropped(node: &Node, reason: &str) -> Result<u64> {
    Ok(node.status()?.drops.get(reason).map_or(0, |count| count.packets))
}
