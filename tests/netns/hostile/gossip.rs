//! Strangers and former members at the gossip port: what they send is refused, the log has one line of it, and members still
//! learn from one another.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use overlay::api::NodeRow;
use overlay::model::Seconds;
use overlay_harness::{Lab, Node, Topology, eventually};
use overlayd::identity::{Authority, Identity, Request};
use overlayd::store::{Key, Store};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::caller::{Caller, GOSSIP_PORT, MANAGER_PORT};
use super::frames::PacketSocket;
use super::managers::{TIMES, tls12, until_closed};
use super::refused::{crowd, stranger, told_once};
use crate::steps::{SOON, authority};

/// Idle connections at once: many times those that strangers may have.
const IDLE: usize = 2000;

fn caller(node: &Node, target: &Node) -> Result<Caller> {
    stranger(node, SocketAddr::new(target.addr(), GOSSIP_PORT))
}

#[test]
fn idle_strangers_keep_no_exchange_from_members() {
    Lab::run(Topology::of(3).unrecorded(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [manager, newcomer, from] = nodes;
        let token = lab.form_cluster_of(&[manager])?;
        newcomer.start()?;
        let caller = caller(from, manager)?;
        crowd(&caller, IDLE, manager, || {
            newcomer.join_cluster(&token, manager)?;
            newcomer.wait_ready(SOON)?;
            // The only one to begin one with is the manager.
            eventually("the newcomer learns from the manager", SOON, || {
                let gossip = newcomer.status()?.gossip;
                ensure!(gossip.syncs > 0, "{gossip:?}");
                Ok(())
            })
        })
        .map(drop)
    });
}

#[test]
fn exchanges_are_refused_that_are_no_members() {
    Lab::run(Topology::of(4), |lab| {
        let nodes: [&Node; 4] = lab.nodes();
        let [manager, worker, other, from] = nodes;
        lab.form_cluster_of(&[manager, worker, other])?;
        let authority = authority(lab, manager)?;
        worker.stop()?;
        let identity: Identity =
            Store::open(&worker.state_dir())?.get(Key::Identity)?.context("no identity")?;

        let plain = caller(from, manager)?;
        for _ in 0..TIMES {
            let mut stream = plain.connect()?;
            stream.write_all(&[0; 64])?;
            until_closed(stream)?;
        }
        told_once(manager, plain.addr, "Handshake")?;

        let ca = CertificateDer::from_pem_slice(authority.cert().as_bytes())?;
        refused(&caller(from, manager)?, manager, &tls12(&ca)?, "Handshake")?;
        let foreign = Authority::new("other")?;
        let request = Request::new(identity.node)?;
        let signed = foreign.sign(request.csr(), identity.node, true, Seconds(3600))?;
        let forged = request.complete(signed.chain, authority.cert().to_owned())?.client_config()?;
        refused(&caller(from, manager)?, manager, &forged, "Certificate")?;
        manager.ctl(&["node", "rm", "--force", worker.name()])?;
        let revoked = identity.client_config()?;
        // It learns of it a moment later.
        eventually("the other node knows", SOON, || {
            let rows: Vec<NodeRow> = other.ctl_json(&["node", "ls"])?;
            ensure!(rows.len() == 2, "{rows:?}");
            Ok(())
        })?;
        refused(&caller(from, manager)?, manager, &revoked, "Revoked")?;
        refused(&caller(from, other)?, other, &revoked, "Revoked")?;
        let questions = stranger(from, SocketAddr::new(other.addr(), MANAGER_PORT))?;
        refused(&questions, other, &revoked, "Revoked")
    });
}

/// Whoever connects so hears nothing, however often, and the log tells of it once.
fn refused(caller: &Caller, target: &Node, tls: &Arc<ClientConfig>, kind: &str) -> Result<()> {
    for _ in 0..TIMES {
        let mut stream = caller.tls(tls)?;
        let answer = stream.write_all(&[0; 8]).and_then(|()| stream.read(&mut [0; 8]));
        ensure!(answer.as_ref().is_ok_and(|read| *read == 0) || answer.is_err(), "{kind}: {answer:?}");
    }
    told_once(target, caller.addr, kind)
}

#[test]
fn a_stolen_datagram_is_refused_before_and_after_rotation() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        lab.form_cluster()?;
        let wire = PacketSocket::open(lab.switch()?, n1.name())?;
        let stolen = eventually("n2 says something to n1", SOON, || {
            let gossip = |frame: &Vec<u8>| is_gossip(frame, n2.addr(), n1.addr());
            wire.frames()?.into_iter().find(gossip).context("nothing came")
        })?;
        replayed(n1, &wire, &stolen, "replayed", "seen before")?;
        n1.ctl(&["cluster", "key", "rotate"])?;
        replayed(n1, &wire, &stolen, "unknown_key", "a cluster key that this node does not hold")
    });
}

/// Sends it again and again; it is counted each time, and told once.
fn replayed(target: &Node, wire: &PacketSocket, stolen: &[u8], reason: &str, cause: &str) -> Result<()> {
    // The sender's kernel left the UDP checksum to the device; without one, a datagram over IPv4 is as good.
    let mut frame = stolen.to_vec();
    frame[40..42].fill(0);
    let count = || -> Result<u64> {
        Ok(target.status()?.gossip.refused.get(reason).map_or(0, |count| count.packets))
    };
    let before = count()?;
    for _ in 0..TIMES {
        wire.send(&frame)?;
    }
    eventually(&format!("it is counted as {reason}"), SOON, || {
        let after = count()?;
        ensure!(after >= before + TIMES as u64, "{before} before, {after} after");
        Ok(())
    })?;
    let log = target.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("datagram") && line.contains(cause)).collect();
    let [_] = told[..] else { bail!("{told:#?}") };
    Ok(())
}

/// Whether it is a datagram over IPv4 without options, from one node's gossip to another's.
fn is_gossip(frame: &[u8], from: IpAddr, to: IpAddr) -> bool {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { return false };
    frame.len() > 42
        && frame[12..15] == [8, 0, 0x45]
        && frame[23] == 17
        && frame[26..30] == from.octets()
        && frame[30..34] == to.octets()
        && frame[36..38] == GOSSIP_PORT.to_be_bytes()
}
