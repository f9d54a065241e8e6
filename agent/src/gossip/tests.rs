//! Gossip between real sockets on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use overlay::facts::{Delta, Key, Record};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::samples::{endpoint, fact, keys, node};
use super::seal::Sealer;
use super::wire::Payload;
use super::*;

mod rotation;

/// A death is seen within 10 s; this leaves room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster's CA and its intent.
struct Cluster {
    ca: CertifiedIssuer<'static, KeyPair>,
    peers: watch::Sender<Vec<Peer>>,
    keys: watch::Sender<Keys>,
}

struct Member {
    gossip: Gossip,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Cluster {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { ca, peers: watch::Sender::new(Vec::new()), keys: watch::Sender::new(keys()) }
    }

    /// Starts a node and makes it a member of the intent, at the port that it got.
    async fn start(&self, node: NodeId, generation: u64) -> Member {
        let gossip = self.start_at(node, generation, "127.0.0.1:0".parse().unwrap()).await.unwrap();
        self.peers.send_modify(|peers| {
            peers.retain(|peer| peer.node != node);
            peers.push(Peer { node, addr: gossip.local_addr() });
        });
        Member { snapshots: gossip.watch(), gossip }
    }

    async fn start_at(&self, me: NodeId, generation: u64, bind: SocketAddr) -> Result<Gossip, GossipError> {
        let (tls_server, tls_client) = self.tls(me);
        let config = GossipConfig {
            me,
            generation,
            bind,
            advertise: bind,
            keys: self.keys.subscribe(),
            tls_server,
            tls_client,
            server_name: "overlay".try_into().unwrap(),
            peer_node,
        };
        Gossip::start(config, self.peers.subscribe()).await
    }

    fn tls(&self, node: NodeId) -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
        let mut params = CertificateParams::new(vec!["overlay".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let pair = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&pair, &self.ca).unwrap().der().clone()];
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key())
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key())
            .unwrap();
        (Arc::new(server), Arc::new(client))
    }
}

impl Member {
    fn state(&self, node: u8, endpoints: impl IntoIterator<Item = u8>) {
        self.gossip.state(fact(node), endpoints.into_iter().map(endpoint).collect());
    }

    /// Waits for a snapshot like that.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let found = timeout(PATIENCE, self.snapshots.wait_for(|snapshot| wanted(snapshot))).await;
        match found {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("not seen: {what}; the last was {:#?}", self.gossip.watch().borrow()),
        }
    }

    /// Waits until it shows exactly these endpoints of a node.
    async fn until_shows(&mut self, owner: u8, endpoints: &[u8]) {
        let what = format!("endpoints {endpoints:?} of {owner}");
        self.until(&what, |snapshot| shown(snapshot, owner) == endpoints).await;
    }
}

fn peer_node(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    certificate.subject().iter_common_name().next()?.as_str().ok()?.parse().ok()
}

/// The numbers of a node's endpoints that a snapshot shows.
pub(super) fn shown(snapshot: &Snapshot, owner: u8) -> Vec<u8> {
    snapshot.view.endpoints_of(node(owner)).map(|endpoint| endpoint.id.as_bytes()[0]).collect()
}

#[tokio::test]
async fn a_fact_stated_on_one_node_is_seen_on_the_others() {
    let cluster = Cluster::new();
    let mut members =
        [cluster.start(node(1), 1).await, cluster.start(node(2), 1).await, cluster.start(node(3), 1).await];
    members[0].state(1, [10, 11]);
    members[1].state(2, [20]);
    members[2].state(3, []);
    for member in &mut members {
        member.until_shows(1, &[10, 11]).await;
        member.until_shows(2, &[20]).await;
        let all = |snapshot: &Snapshot| snapshot.view.node(node(3)) == Some(&fact(3));
        let snapshot = member.until("node 3's fact", all).await;
        assert_eq!(snapshot.alive, BTreeSet::from([node(1), node(2), node(3)]));
    }

    members[0].state(1, [11, 12]);
    for member in &mut members {
        member.until_shows(1, &[11, 12]).await;
    }
}

#[tokio::test]
async fn a_late_joiner_has_everything_when_it_is_synced() {
    let cluster = Cluster::new();
    let mut first = cluster.start(node(1), 1).await;
    let mut second = cluster.start(node(2), 1).await;
    first.state(1, 10..=250);
    second.state(2, [20]);
    second.until("all of node 1", |snapshot| shown(snapshot, 1).len() == 241).await;
    first.until_shows(2, &[20]).await;

    let mut late = cluster.start(node(3), 1).await;
    let snapshot = late.until("synced", |snapshot| snapshot.synced).await;
    assert_eq!(shown(&snapshot, 1).len(), 241);
    assert_eq!(shown(&snapshot, 2), [20]);
}

#[tokio::test]
async fn a_node_without_others_is_synced_at_once() {
    let cluster = Cluster::new();
    let mut only = cluster.start(node(1), 1).await;
    only.state(1, [10]);
    let snapshot = only.until("synced", |snapshot| snapshot.synced && shown(snapshot, 1) == [10]).await;
    assert_eq!(snapshot.counters.syncs_failed, 0);
}

#[tokio::test]
async fn a_dead_nodes_facts_go_and_its_next_boot_brings_no_ghosts() {
    let cluster = Cluster::new();
    let mut first = cluster.start(node(1), 1).await;
    let second = cluster.start(node(2), 1).await;
    let mut third = cluster.start(node(3), 1).await;
    second.state(2, [20, 21, 22]);
    first.until_shows(2, &[20, 21, 22]).await;
    third.until_shows(2, &[20, 21, 22]).await;

    second.gossip.stop().await;
    for member in [&mut first, &mut third] {
        member.until_shows(2, &[]).await;
        assert!(!member.gossip.watch().borrow().alive.contains(&node(2)));
    }

    let again = cluster.start(node(2), 2).await;
    again.state(2, [21]);
    first.until_shows(2, &[21]).await;
    third.until_shows(2, &[21]).await;
}

#[tokio::test]
async fn a_quick_restart_never_hides_what_both_boots_have() {
    let cluster = Cluster::new();
    let mut first = cluster.start(node(1), 1).await;
    let second = cluster.start(node(2), 1).await;
    second.state(2, [20, 21]);
    first.until_shows(2, &[20, 21]).await;

    second.gossip.stop().await;
    let again = cluster.start(node(2), 2).await;
    again.state(2, [21, 22]);
    first
        .until("the new boot's endpoints", |snapshot| {
            let shown = shown(snapshot, 2);
            assert!(shown.contains(&21), "endpoint 21 was hidden: {shown:?}");
            shown == [21, 22]
        })
        .await;
}

#[tokio::test]
async fn a_node_that_the_intent_drops_is_not_shown() {
    let cluster = Cluster::new();
    let mut first = cluster.start(node(1), 1).await;
    let second = cluster.start(node(2), 1).await;
    second.state(2, [20]);
    first.until_shows(2, &[20]).await;
    cluster.peers.send_modify(|peers| peers.retain(|peer| peer.node != node(2)));
    first.until_shows(2, &[]).await;
    assert_eq!(first.gossip.watch().borrow().alive, BTreeSet::from([node(1)]));
}

#[tokio::test]
async fn refused_datagrams_are_counted_and_change_nothing() {
    let cluster = Cluster::new();
    let mut target = cluster.start(node(1), 1).await;
    let owner = cluster.start(node(2), 1).await;
    owner.state(2, [20]);
    target.until_shows(2, &[20]).await;
    let before = target.gossip.watch().borrow().clone();
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = target.gossip.local_addr();

    let delta = |owner| Delta {
        owner,
        generation: 9,
        head: 1,
        floor: 0,
        from: 0,
        to: 1,
        records: vec![Record { key: Key { kind: 1, id: [0; 16] }, version: 1, body: None }],
    };
    let push = |owner| Payload::Push(delta(owner)).encode();
    let mut stranger = Sealer::new(&Keys::one(1, [7; 32]), node(4), 1);
    let forged = stranger.seal(&push(node(4)));
    let mut insider = Sealer::new(&keys(), node(3), 1);
    let not_owner = insider.seal(&push(node(2)));
    let garbage = insider.seal(&[0xff; 40]);
    let unknown = Sealer::new(&Keys::one(9, [1; 32]), node(3), 1).seal(&push(node(3)));
    let oversized = vec![0; 1400];
    let truncated = &not_owner[..20];
    for datagram in [&forged[..], &unknown, &not_owner, &not_owner, &garbage, &oversized, truncated, &[]] {
        attacker.send_to(datagram, addr).await.unwrap();
    }

    let after = target
        .until("all refused", |snapshot| {
            let counters = &snapshot.counters;
            counters.refused_forged == before.counters.refused_forged + 1
                && counters.refused_unknown_key == before.counters.refused_unknown_key + 1
                && counters.refused_not_owner == before.counters.refused_not_owner + 1
                && counters.refused_replayed == before.counters.refused_replayed + 1
                && counters.refused_malformed == before.counters.refused_malformed + 1
                && counters.refused_oversized == before.counters.refused_oversized + 1
                && counters.refused_truncated == before.counters.refused_truncated + 2
        })
        .await;
    assert_eq!(after.view, before.view);
    assert_eq!(after.alive, before.alive);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let cluster = Cluster::new();
    let first = cluster.start(node(1), 1).await;
    let addr = first.gossip.local_addr();
    let error = cluster.start_at(node(2), 1, addr).await.err().expect("the port is taken").to_string();
    assert!(error.contains(&format!("TCP {addr}")) && error.contains("hint: "), "{error}");
}

#[tokio::test]
async fn a_node_that_the_intent_does_not_know_is_refused_an_exchange() {
    let cluster = Cluster::new();
    let member = cluster.start(node(1), 1).await;
    member.state(1, [10]);
    let stranger = cluster.start_at(node(2), 1, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut snapshots = stranger.watch();
    let refused = snapshots.wait_for(|snapshot| snapshot.counters.syncs_failed > 0);
    let snapshot = timeout(PATIENCE, refused).await.unwrap().unwrap().clone();
    assert_eq!(snapshot.counters.syncs, 0);
}
