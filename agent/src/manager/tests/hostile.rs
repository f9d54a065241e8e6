//! What strangers and misbehaving members get.

use std::collections::BTreeMap;

use hyper::StatusCode;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::ProposeError;
use super::super::client::{ClientError, get, post};
use super::super::wire::{
    JOIN, JoinAnswer, JoinRefusal, JoinRequest, MAX_JOIN, MAX_REQUEST, PROPOSE, Proposed, WATCH,
};
use super::*;
use crate::identity::{Authority, Identity, Request, joining_client_config, server_name};
use overlay::api::ApiError;
use overlay::intent::{AdmitNode, Cluster, IntentError};

type Answer = Result<Proposed, IntentError>;

async fn propose(manager: &Manager, tls: &Arc<ClientConfig>) -> Result<Answer, ClientError> {
    post(manager.addr(), tls, PROPOSE, &network("net")).await
}

fn status<T>(outcome: Result<T, ClientError>) -> StatusCode {
    match outcome {
        Err(ClientError::Status { status, .. }) => status,
        Err(error) => panic!("{error}"),
        Ok(_) => StatusCode::OK,
    }
}

/// An identity that `authority` signed, of somebody who trusts `ca`.
fn signed_by(authority: &Authority, ca: &Authority) -> Identity {
    let node = NodeId::from_bytes(rand::random());
    let request = Request::new(node).unwrap();
    let signed = authority.sign(request.csr(), node, false, Cluster::CERT_LIFETIME).unwrap();
    request.complete(signed.chain, ca.cert().to_owned()).unwrap()
}

pub(super) async fn tls_stream(
    manager: &Manager,
    tls: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(manager.addr()).await?;
    TlsConnector::from(Arc::clone(tls)).connect(server_name(), stream).await
}

/// Sends a request that announces a body of `length` bytes, of which it sends `sent`; returns the answer's
/// first line.
async fn upload(
    manager: &Manager,
    tls: &Arc<ClientConfig>,
    path: &str,
    length: usize,
    sent: usize,
) -> String {
    let mut stream = tls_stream(manager, tls).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![0; sent]).await.unwrap();
    let mut answer = [0; 64];
    let read = timeout(Duration::from_secs(30), stream.read(&mut answer)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn without_a_certificate_only_joining_is_open() {
    let manager = Manager::start().await;
    let stranger = joining_client_config(manager.founded.token.ca).unwrap();
    assert_eq!(status(propose(&manager, &stranger).await), StatusCode::FORBIDDEN);
    assert_eq!(status(get(manager.addr(), &stranger, WATCH).await), StatusCode::FORBIDDEN);
    assert_eq!(status(get(manager.addr(), &stranger, "/v1/anything").await), StatusCode::FORBIDDEN);
    assert!(!has(&manager.log.watch().borrow(), "net"));
}

#[tokio::test]
async fn a_certificate_of_another_ca_ends_the_connection() {
    let manager = Manager::start().await;
    let foreign = signed_by(&Authority::new("other").unwrap(), &manager.founded.authority);
    let outcome = propose(&manager, &foreign.client_config().unwrap()).await;
    // In TLS 1.3 the client's side is complete before the server looks at its certificate.
    assert!(matches!(outcome, Err(ClientError::Lost(_) | ClientError::Connect(_))), "{outcome:?}");
    assert!(!has(&manager.log.watch().borrow(), "net"));
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let manager = Manager::start().await;
    let other = Authority::new("other").unwrap();
    let outcome = propose(&manager, &signed_by(&other, &other).client_config().unwrap()).await;
    assert!(matches!(outcome, Err(ClientError::Untrusted(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_certificate_alone_makes_no_member() {
    let manager = Manager::start().await;
    let authority = &manager.founded.authority;
    let former = signed_by(authority, authority).client_config().unwrap();
    let unknown = |error| matches!(error, ClientError::Excluded(Exclusion::Unknown));
    assert!(propose(&manager, &former).await.is_err_and(unknown));
    assert!(get(manager.addr(), &former, WATCH).await.is_err_and(unknown));
}

#[tokio::test]
async fn who_is_not_known_is_told_and_stays_as_it_is_until_it_is() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    let known = worker.log.watch().borrow().nodes[&worker.joined.identity.node].clone();
    let authority = &manager.founded.authority;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let held = Intent::clone(&worker.log.watch().borrow());
    store.put(Key::IntentCopy, &held).unwrap();
    let identity = signed_by(authority, authority);
    let node = identity.node;
    let stranger = Follower::start(store.clone(), shown(&identity), vec![manager.addr()]).unwrap();
    let link = seen(stranger.status(), |link| link.excluded.is_some()).await;
    assert_eq!((link.excluded, link.reachable), (Some(Exclusion::Unknown), false));
    let error = stranger.propose(network("net")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Excluded(Exclusion::Unknown)), "{error}");
    assert!(ApiError::from(error).hint.is_some_and(|hint| hint.contains("leave --force")));
    assert_eq!(stored_intent(&store).unwrap(), held);

    let node = Node { id: node, addr: [127, 0, 9, 9].into(), ..known };
    let issuer = held.cluster.unwrap().ca_cert;
    let admitted = Command::AdmitNode(AdmitNode { node, issuer, replaces: None });
    manager.log.propose(admitted).await.unwrap();
    seen(stranger.status(), |link| link.reachable && link.excluded.is_none()).await;
}

#[tokio::test]
async fn a_member_describes_itself_alone() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    let intent = Intent::clone(&manager.log.watch().borrow());
    let own = intent.nodes[&worker.joined.identity.node].clone();
    let foreign = intent.nodes[&manager.founded.identity.node].clone();

    let ca = intent.cluster.as_ref().unwrap().ca_cert.clone();

    for command in [
        Command::PutNode(Node { hostname: "taken over".to_owned(), ..foreign.clone() }),
        Command::SetRole { node: own.id, manager: true },
        Command::RemoveNode { id: foreign.id, force: true },
        network("net"),
        Command::RotateToken { manager: true, secret: "00".to_owned().into() },
        Command::WantGossipKey,
        Command::NoteCertificate { node: foreign.id, issuer: ca.clone() },
        Command::NoteCertificate { node: own.id, issuer: Authority::new("other").unwrap().cert().to_owned() },
    ] {
        let error = worker.log.propose(command).await.unwrap_err();
        let named = format!("run it on a manager: {} (127.", foreign.hostname);
        let shown = ApiError::from(error.clone());
        assert!(matches!(error, ProposeError::NotAllowed { .. }), "{error}");
        assert!(shown.hint.is_some_and(|hint| hint.starts_with(&named)));
    }
    assert_eq!(**manager.log.watch().borrow(), intent);
    worker.log.propose(Command::NoteCertificate { node: own.id, issuer: ca }).await.unwrap();
    worker.log.propose(Command::PutNode(Node { hostname: "renamed".to_owned(), ..own })).await.unwrap();
}

#[tokio::test]
async fn only_who_asked_is_answered_again() {
    let manager = Manager::start().await;
    let stranger = joining_client_config(manager.founded.token.ca).unwrap();
    let node = node();
    let (first, second) = (Request::new(node.id).unwrap(), Request::new(node.id).unwrap());
    let ask = async |request: &Request| {
        let secret = manager.founded.token.secret.to_string();
        let query = JoinRequest { secret, csr: request.csr().to_owned(), node: node.clone() };
        let answer: Result<JoinAnswer, JoinRefusal> =
            post(manager.addr(), &stranger, JOIN, &query).await.unwrap();
        answer
    };
    assert!(ask(&first).await.is_ok());
    assert!(matches!(ask(&second).await, Err(JoinRefusal::AlreadyMember)));
    let again = ask(&first).await.unwrap();
    first.complete(again.chain, again.ca).unwrap();
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let manager = Manager::start().await;
    let mut roots = RootCertStore::empty();
    let chain = manager.founded.authority.cert().as_bytes();
    let ca = rustls::pki_types::pem::PemObject::from_pem_slice(chain).unwrap();
    roots.add(ca).unwrap();
    let config = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_protocol_versions(versions).unwrap();
        Arc::new(config.with_root_certificates(roots.clone()).with_no_client_auth())
    };
    tls_stream(&manager, &config(&[&rustls::version::TLS13])).await.unwrap();
    let error = tls_stream(&manager, &config(&[&rustls::version::TLS12])).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}

#[tokio::test]
async fn bodies_too_large_are_refused() {
    let manager = Manager::start().await;
    let member = manager.founded.identity.client_config().unwrap();
    let stranger = joining_client_config(manager.founded.token.ca).unwrap();
    let too_large = "HTTP/1.1 413 Payload Too Large";
    let gigabyte = 1 << 30;
    assert_eq!(upload(&manager, &member, PROPOSE, gigabyte, MAX_REQUEST + 1).await, too_large);
    assert_eq!(upload(&manager, &stranger, JOIN, gigabyte, MAX_JOIN + 1).await, too_large);
    assert_eq!(upload(&manager, &stranger, PROPOSE, gigabyte, 0).await, "HTTP/1.1 403 Forbidden");
}

#[tokio::test]
async fn a_malformed_body_is_a_bad_request() {
    let manager = Manager::start().await;
    let member = manager.founded.identity.client_config().unwrap();
    let nonsense = BTreeMap::from([("x", "y")]);
    let outcome: Result<Answer, _> = post(manager.addr(), &member, PROPOSE, &nonsense).await;
    assert_eq!(status(outcome), StatusCode::BAD_REQUEST);
    let outcome: Result<(), _> = post(manager.addr(), &member, JOIN, &nonsense).await;
    assert_eq!(status(outcome), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn garbage_and_silence_end_and_disturb_nobody() {
    let manager = Manager::start().await;
    let stranger = joining_client_config(manager.founded.token.ca).unwrap();
    let mut silent = TcpStream::connect(manager.addr()).await.unwrap();
    let mut headless = tls_stream(&manager, &stranger).await.unwrap();
    headless.write_all(b"GET /v1/watch HTTP/1.1\r\nHost:").await.unwrap();
    let mut garbage = TcpStream::connect(manager.addr()).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();

    let worker = manager.worker().await;
    worker.log.propose(renamed(&worker.log, worker.joined.identity.node, "heard")).await.unwrap();

    let ended = async {
        let mut rest = Vec::new();
        // How a connection ends does not matter: orderly or by a reset.
        let _ = garbage.read_to_end(&mut rest).await;
        let _ = silent.read_to_end(&mut rest).await;
        let _ = headless.read_to_end(&mut rest).await;
    };
    timeout(Duration::from_secs(60), ended).await.expect("a connection is held");
}
