//! Strangers, former members and workers at a manager's port: each is refused, the log has one line of it, and who may come in
//! still does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use overlay::intent::{Command, CreateNetwork};
use overlay::model::{Labels, NetworkId, Seconds};
use overlay_harness::{Lab, Node, Topology, eventually};
use overlayd::identity::{Authority, CaDigest, Identity, Request, joining_client_config};
use overlayd::store::{Key, Store};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::TLS12;
use rustls::{ClientConfig, RootCertStore};

use super::caller::{Caller, MANAGER_PORT};
use super::refused::{GROWTH_KB, about, crowd, stranger, told_once};
use crate::steps::{SOON, authority, memory};

/// How often each attack is made; the log tells of it once.
pub(super) const TIMES: usize = 3;
/// The longest body of a request to join, and one byte more.
const TOO_LARGE: usize = (64 << 10) + 1;
/// Bytes, one a second, that nobody waits for to the end.
const PATIENCE: usize = 30;
/// Wrong tokens that one address may show in a minute.
const GUESSES: usize = 5;
const IDLE: usize = 10_000;

fn caller(node: &Node, manager: &Node) -> Result<Caller> {
    stranger(node, SocketAddr::new(manager.addr(), MANAGER_PORT))
}

#[test]
fn certificates_are_refused_that_are_wrong_ended_revoked_or_a_workers() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [manager, worker, from] = nodes;
        lab.form_cluster_of(&[manager, worker])?;
        let authority = authority(lab, manager)?;
        worker.stop()?;
        let identity: Identity =
            Store::open(&worker.state_dir())?.get(Key::Identity)?.context("no identity")?;
        let signed = |by: &Authority, lifetime| -> Result<Arc<ClientConfig>> {
            let request = Request::new(identity.node)?;
            let signed = by.sign(request.csr(), identity.node, true, lifetime)?;
            Ok(request.complete(signed.chain, authority.cert().to_owned())?.client_config()?)
        };
        let propose = postcard::to_stdvec(&network()?)?;
        let ends = |kind: &str, tls: &Arc<ClientConfig>| -> Result<()> {
            let caller = caller(from, manager)?;
            for _ in 0..TIMES {
                let answer = caller.post(tls, "/v1/propose", &propose, propose.len());
                ensure!(answer.is_err(), "{kind}: {answer:?}");
            }
            told_once(manager, caller.addr, kind)
        };
        ends("Certificate", &signed(&Authority::new("other")?, Seconds(3600))?)?;
        let (short, since) = (signed(&authority, Seconds(0))?, Instant::now());
        eventually("it has ended", SOON, || {
            ensure!(since.elapsed() > Duration::from_secs(1), "certificates end with a second");
            Ok(())
        })?;
        ends("Expired", &short)?;

        let workers = identity.client_config()?;
        for (path, kind) in [
            ("/v1/propose", "Command"),
            ("/v1/raft/propose", "NoManager"),
            ("/v1/raft/read", "NoManager"),
            ("/v1/raft/append", "NoManager"),
            ("/v1/raft/vote", "NoManager"),
            ("/v1/raft/snapshot", "NoManager"),
        ] {
            let caller = caller(from, manager)?;
            for _ in 0..TIMES {
                let answer = caller.post(&workers, path, &propose, propose.len())?;
                ensure!(answer.contains("403"), "{path}: {answer}");
            }
            told_once(manager, caller.addr, kind)?;
        }

        manager.ctl(&["node", "rm", "--force", worker.name()])?;
        ends("Revoked", &workers)?;
        manager.ctl_fails(&["network", "inspect", "forged"]).map(drop)
    });
}

fn network() -> Result<Command> {
    Ok(Command::CreateNetwork(CreateNetwork {
        id: NetworkId::from_bytes([7; 16]),
        name: "forged".parse()?,
        subnets: Vec::new(),
        gateways: Vec::new(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: Labels::new(),
    }))
}

#[test]
fn tokens_are_neither_guessed_nor_replayed() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [manager, thief, newcomer] = nodes;
        let token = lab.form_cluster_of(&[manager])?;
        thief.start()?;
        newcomer.start()?;
        let [version, digest, _] = token.split('-').collect::<Vec<_>>()[..] else { bail!("{token}") };

        // It is the newcomer who does not trust that cluster, so the secret is not told.
        let foreign = format!("{version}-{}-{}", "0".repeat(64), "0".repeat(32));
        for _ in 0..=GUESSES {
            let said = join_fails(thief, &foreign, manager)?;
            ensure!(said.contains("is not of the cluster"), "{said}");
        }
        told_once(manager, thief.addr(), "Handshake")?;

        let wrong = format!("{version}-{digest}-{}", "0".repeat(32));
        for _ in 0..GUESSES {
            let said = join_fails(thief, &wrong, manager)?;
            ensure!(!said.contains("too many"), "{said}");
        }
        for token in [&wrong, &token] {
            let said = join_fails(thief, token, manager)?;
            ensure!(said.contains("too many"), "{said}");
        }
        let told = about(manager, thief.addr());
        for kind in ["Handshake", "Join", "Guesses"] {
            let kind = format!("kind={kind} ");
            ensure!(told.iter().filter(|line| line.contains(&kind)).count() == 1, "{kind}: {told:#?}");
        }

        // Whoever is between the two sees the newcomer in, and learns nothing that opens the door again.
        let (relay, heard) = relay(newcomer, manager)?;
        let own = newcomer.addr().to_string();
        newcomer.ctl(&["cluster", "join", "--token", &token, &relay, "--advertise-addr", &own])?;
        newcomer.wait_ready(SOON)?;
        let heard = heard.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let caller = caller(thief, manager)?;
        for _ in 0..TIMES {
            let mut stream = caller.connect()?;
            stream.write_all(&heard)?;
            until_closed(stream)?;
        }
        told_once(manager, caller.addr, "Handshake")?;
        let members: serde_json::Value = manager.ctl_json(&["node", "ls"])?;
        ensure!(members.as_array().is_some_and(|members| members.len() == 2), "{members}");
        Ok(())
    });
}

fn join_fails(node: &Node, token: &str, manager: &Node) -> Result<String> {
    let (manager, own) = (manager.addr().to_string(), node.addr().to_string());
    node.ctl_fails(&["cluster", "join", "--token", token, &manager, "--advertise-addr", &own])
}

/// Stands between a newcomer and the manager for one connection, and remembers what the newcomer sends.
fn relay(at: &Node, manager: &Node) -> Result<(String, std::thread::JoinHandle<Result<Vec<u8>>>)> {
    let (addr, manager) = (SocketAddr::new(at.addr(), 4000), SocketAddr::new(manager.addr(), 2377));
    let listener = at.netns().run(|| Ok(TcpListener::bind(addr)?))?;
    let heard = at.netns().spawn(move || {
        let (mut newcomer, _) = listener.accept()?;
        let mut onward = TcpStream::connect(manager)?;
        let (mut answers, mut back) = (onward.try_clone()?, newcomer.try_clone()?);
        let answering = std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            // However the newcomer ends it.
            let read = newcomer.read(&mut buffer).unwrap_or_default();
            if read == 0 {
                break;
            }
            heard.extend_from_slice(&buffer[..read]);
            onward.write_all(&buffer[..read])?;
        }
        drop(onward.shutdown(std::net::Shutdown::Both));
        drop(answering.join());
        Ok(heard)
    });
    Ok((addr.to_string(), heard))
}

#[test]
fn what_is_no_tls_1_3_too_large_or_too_slow_is_refused() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [manager, from] = nodes;
        lab.form_cluster_of(&[manager])?;
        let ca = CertificateDer::from_pem_slice(authority(lab, manager)?.cert().as_bytes())?;

        let plain = caller(from, manager)?;
        for _ in 0..TIMES {
            let mut stream = plain.connect()?;
            stream.write_all(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")?;
            until_closed(stream)?;
        }
        told_once(manager, plain.addr, "Handshake")?;

        let older = caller(from, manager)?;
        let tls12 = tls12(&ca)?;
        for _ in 0..TIMES {
            let answer = older.post(&tls12, "/v1/join", b"", 0);
            let refused =
                answer.as_ref().is_err_and(|error| format!("{error:#}").contains("ProtocolVersion"));
            ensure!(refused, "{answer:?}");
        }
        told_once(manager, older.addr, "Handshake")?;

        let joining = joining_client_config(CaDigest::of(&ca))?;
        let large = caller(from, manager)?;
        for _ in 0..TIMES {
            let answer = large.post(&joining, "/v1/join", &vec![0; TOO_LARGE], 1 << 30)?;
            ensure!(answer.contains("413"), "{answer}");
        }
        told_once(manager, large.addr, "Size")?;

        let slow = caller(from, manager)?;
        let mut connections = Vec::new();
        for _ in 0..TIMES {
            connections.push(slow.tls(&joining)?);
        }
        let header = "GET /v1/watch HTTP/1.1\r\nHost: somebody-who-has-a-lot-of-time\r\n\r\n";
        let mut bytes = header.bytes();
        while !connections.is_empty() {
            let byte = bytes.next().context("it waited for all of the header")?;
            connections.retain_mut(|stream| stream.write_all(&[byte]).and_then(|()| stream.flush()).is_ok());
            sleep(Duration::from_secs(1));
        }
        told_once(manager, slow.addr, "Slow")?;

        // The same in a body, which is bounded as a whole.
        let slow = caller(from, manager)?;
        let mut stream = slow.tls(&joining)?;
        stream.write_all(b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")?;
        for _ in 0..PATIENCE {
            if stream.write_all(&[0]).and_then(|()| stream.flush()).is_err() {
                break;
            }
            sleep(Duration::from_secs(1));
        }
        told_once(manager, slow.addr, "Slow")
    });
}

pub(super) fn tls12(ca: &CertificateDer<'static>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_protocol_versions(&[&TLS12])?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Reads until the other end closes, in order or by a reset.
pub(super) fn until_closed(mut stream: TcpStream) -> Result<()> {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("the connection stays open"),
        _ => Ok(()),
    }
}

#[test]
fn ten_thousand_idle_connections_keep_nobody_out_and_take_little() {
    Lab::run(Topology::of(3).unrecorded(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [manager, newcomer, from] = nodes;
        let token = lab.form_cluster_of(&[manager])?;
        newcomer.start()?;
        let caller = caller(from, manager)?;
        let before = crowd(&caller, IDLE, manager, || {
            newcomer.join_cluster(&token, manager)?;
            newcomer.wait_ready(SOON)?;
            manager.ctl(&["network", "create", "blue"])?;
            eventually("the newcomer knows the network", SOON, || newcomer.network("blue")).map(drop)
        })?;
        eventually("the memory is given back", SOON, || {
            let after = memory(manager)?;
            ensure!(after < before + GROWTH_KB, "{before} kB before, {after} kB after");
            Ok(())
        })
    });
}
