//! Handshakes between two members, in memory.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use overlay::intent::{Cluster, GossipKeys, Intent};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn credentials(authority: &Authority, n: u8, manager: bool) -> Arc<Credentials> {
    let node = NodeId::from_bytes([n; 16]);
    let request = Request::new(node).unwrap();
    let signed = authority.sign(request.csr(), node, manager, HOUR).unwrap();
    Credentials::new(request.complete(signed.chain, authority.cert().to_owned()).unwrap()).unwrap()
}

/// What becomes of a connection: the client's view, and the server's.
async fn meet(
    client: &Credentials,
    server: &Credentials,
    name: ServerName<'static>,
) -> (io::Result<Certified>, io::Result<Certified>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(client.client_config());
    let acceptor = TlsAcceptor::from(server.server_config(ClientCertificate::Required));
    let (connected, accepted) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    let shown =
        |certificates: Option<&[CertificateDer<'_>]>| Certified::of(&certificates.unwrap()[0]).unwrap();
    (
        connected.map(|stream| shown(stream.get_ref().1.peer_certificates())),
        accepted.map(|stream| shown(stream.get_ref().1.peer_certificates())),
    )
}

fn removing(n: u8) -> Intent {
    Intent { removed: BTreeSet::from([NodeId::from_bytes([n; 16])]), ..Intent::default() }
}

fn trusting(ca: &Authority, next: Option<&Authority>) -> Intent {
    let cluster = Cluster {
        id: "00".to_owned(),
        epoch: 1,
        ca_cert: ca.cert().to_owned(),
        next_ca_cert: next.map(|next| next.cert().to_owned()),
        old_ca_cert: None,
        ca_generation: 1,
        gossip: GossipKeys::default(),
        cert_lifetime: HOUR,
    };
    Intent { cluster: Some(cluster), ..Intent::default() }
}

#[tokio::test]
async fn members_know_each_other_and_managers_as_such() {
    let authority = Authority::new("test").unwrap();
    let (worker, manager) = (credentials(&authority, 1, false), credentials(&authority, 2, true));
    let (seen, shown) = meet(&worker, &manager, manager_name()).await;
    assert!(seen.unwrap().manager && !shown.unwrap().manager);
    meet(&manager, &worker, server_name()).await.0.unwrap();
    let error = meet(&manager, &worker, manager_name()).await.0.unwrap_err();
    assert!(error.to_string().contains("not valid for name \"manager.overlay\""), "{error}");
}

#[tokio::test]
async fn who_was_removed_is_refused_by_either_side() {
    let authority = Authority::new("test").unwrap();
    let (one, other) = (credentials(&authority, 1, false), credentials(&authority, 2, true));
    one.follow(&removing(2)).unwrap();
    let error = meet(&one, &other, server_name()).await.0.unwrap_err();
    assert!(error.to_string().contains("Revoked"), "{error}");
    let error = meet(&other, &one, server_name()).await.1.unwrap_err();
    assert!(error.to_string().contains("Revoked"), "{error}");
}

#[tokio::test]
async fn both_cas_are_trusted_while_they_change() {
    let [first, second] = [(); 2].map(|()| Authority::new("test").unwrap());
    let (old, new) = (credentials(&first, 1, true), credentials(&second, 2, true));
    assert!(meet(&old, &new, server_name()).await.0.is_err());
    for credentials in [&old, &new] {
        credentials.follow(&trusting(&first, Some(&second))).unwrap();
    }
    for (client, server) in [(&old, &new), (&new, &old)] {
        let (seen, shown) = meet(client, server, server_name()).await;
        assert!(seen.is_ok() && shown.is_ok());
    }
}

#[tokio::test]
async fn a_renewal_that_began_before_a_ca_came_leaves_it_trusted() {
    let [first, second] = [(); 2].map(|()| Authority::new("test").unwrap());
    let (old, new) = (credentials(&first, 1, true), credentials(&second, 2, true));
    new.follow(&trusting(&first, Some(&second))).unwrap();
    let renewed = credentials(&first, 1, true);
    old.follow(&trusting(&first, Some(&second))).unwrap();
    old.renew(renewed.now().identity.clone()).unwrap();
    meet(&old, &new, server_name()).await.0.unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_on_the_next_connection() {
    let authority = Authority::new("test").unwrap();
    let (one, other) = (credentials(&authority, 1, false), credentials(&authority, 2, true));
    let before = meet(&one, &other, server_name()).await;
    assert!(!before.1.unwrap().manager);
    let promoted = credentials(&authority, 1, true);
    one.renew(promoted.now().identity.clone()).unwrap();
    let after = meet(&one, &other, server_name()).await;
    assert!(after.1.unwrap().manager);
    let (_, back) = tokio::join!(meet(&one, &other, server_name()), meet(&other, &one, manager_name()));
    assert!(back.0.unwrap().manager, "a server shows the new one as well");
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused_by_either_side() {
    let authority = Authority::new("test").unwrap();
    let member = credentials(&authority, 1, true);
    let late = Credentials::new(ended(&authority, NodeId::from_bytes([2; 16]))).unwrap();
    let error = meet(&member, &late, server_name()).await.0.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    let error = meet(&late, &member, server_name()).await.1.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_by_either_side() {
    let [ours, theirs] = [(); 2].map(|()| Authority::new("test").unwrap());
    let (member, stranger) = (credentials(&ours, 1, true), credentials(&theirs, 2, true));
    stranger.follow(&trusting(&ours, None)).unwrap();
    assert!(meet(&member, &stranger, server_name()).await.0.is_err());
    assert!(meet(&stranger, &member, server_name()).await.1.is_err());
}

/// An identity whose certificate ended long ago.
fn ended(authority: &Authority, node: NodeId) -> Identity {
    let ca = authority.keys();
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, KeyPair::from_pem(&ca.key.0).unwrap()).unwrap();
    let names = [node_name(node), SERVER_NAME.to_owned(), MANAGER_NAME.to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, &issuer).unwrap().pem() + authority.cert();
    Identity { node, chain, key: key.serialize_pem(), ca: authority.cert().to_owned() }
}
