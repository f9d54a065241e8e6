//! Certificates that come and go: joining by either token, renewal, removal, and the rotation of the CA.

use std::sync::atomic::AtomicBool;

use hyper::StatusCode;

use super::super::client::{ClientError, Connection, get, post};
use super::super::wire::{
    APPLIED, JOIN, JoinAnswer, JoinRefusal, JoinRequest, RAFT_READ, WATCH, WhenApplied,
};
use super::super::{JoinError, Standing};
use super::hostile::tls_stream;
use super::managers::{Member, three};
use super::*;
use crate::identity::{Authority, Certified, Request, Secret, Token, joining_client_config, server_name};

/// Whether each of them shows a certificate of that role.
fn shows(credentials: &Credentials, manager: bool) -> bool {
    credentials.now().certified.manager == manager
}

#[tokio::test]
async fn a_token_of_managers_makes_a_manager() {
    let manager = Manager::start().await;
    let secret = manager.role.running().unwrap().secrets.borrow().manager_secret.0.parse().unwrap();
    let token = Token { ca: manager.founded.token.ca, secret };
    let joined = join(&token, manager.addr(), node()).await.unwrap();
    assert!(joined.intent.nodes[&joined.identity.node].manager);
    assert!(shows(&shown(&joined.identity), true));
}

#[tokio::test]
async fn a_token_that_was_rotated_lets_nobody_in() {
    let manager = Manager::start().await;
    let secret = Secret::random();
    let rotate = Command::RotateToken { manager: false, secret: secret.to_string().into() };
    manager.log.propose(rotate).await.unwrap();
    assert!(matches!(manager.join(node()).await.unwrap_err(), JoinError::WrongSecret { .. }));
    let token = Token { ca: manager.founded.token.ca, secret };
    join(&token, manager.addr(), node()).await.unwrap();
}

#[tokio::test]
async fn guessing_a_token_ends_after_a_few_tries() {
    let manager = Manager::start().await;
    let stranger = joining_client_config(manager.founded.token.ca).unwrap();
    let mut answers = Vec::new();
    for _ in 0..7 {
        let request = Request::new(NodeId::from_bytes([1; 16])).unwrap();
        let secret = Secret::random().to_string();
        let query = JoinRequest { secret, csr: request.csr().to_owned(), node: node() };
        let answer: Result<Result<JoinAnswer, JoinRefusal>, _> =
            post(manager.addr(), &stranger, JOIN, &query).await;
        answers.push(match answer {
            Ok(Err(JoinRefusal::WrongSecret)) => StatusCode::OK,
            Err(ClientError::Status { status, .. }) => status,
            other => panic!("{:?}", other.map(|answer| answer.err())),
        });
    }
    let [heard @ .., sixth, seventh] = &answers[..] else { panic!("{answers:?}") };
    assert!(heard.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
    assert_eq!([*sixth, *seventh], [StatusCode::TOO_MANY_REQUESTS; 2]);
    let error = manager.join(node()).await.unwrap_err();
    assert!(
        matches!(error, JoinError::TooManyGuesses { .. }),
        "the right one is not looked at either: {error}"
    );
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_node_that_was_removed_is_cut_off_and_stays_out() {
    let manager = Manager::start().await;
    let (one, other) = (manager.worker().await, manager.worker().await);
    let removed = one.joined.identity.clone();
    let theirs = removed.client_config().unwrap();
    let applied = watch::Sender::new(0);
    let watches = Arc::clone(&other.log.watch().borrow());
    assert!(watches.nodes.contains_key(&removed.node));
    let (peer, server) = serving(other, &applied).await;
    let addr = SocketAddr::new(peer.addr, peer.api_port);
    let mut open = Connection::open(addr, &theirs, server_name()).await.unwrap();
    let ask = WhenApplied { version: 0, wait: Duration::ZERO };
    open.post::<_, u64>(APPLIED, &ask).await.unwrap();

    manager.log.propose(Command::RemoveNode { id: removed.node, force: false }).await.unwrap();
    let cut = async {
        // A connection that was open before, to a node that learns of it a moment later.
        while open.post::<_, u64>(APPLIED, &ask).await.is_ok() {}
    };
    timeout(Duration::from_secs(30), cut).await.expect("a removed node is still answered");
    for (addr, name) in [(addr, server_name()), (manager.addr(), crate::identity::manager_name())] {
        let outcome =
            async { Connection::open(addr, &theirs, name).await?.post::<_, u64>(APPLIED, &ask).await };
        let error = outcome.await.unwrap_err();
        assert!(
            matches!(error, ClientError::Excluded(_) | ClientError::Lost(_) | ClientError::Connect(_)),
            "{error}"
        );
    }
    seen(one.log.status(), |link| link.excluded == Some(Exclusion::Removed) && !link.reachable).await;
    assert!(get(manager.addr(), &theirs, WATCH).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn a_workers_certificate_opens_nothing_that_is_between_managers() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    let tls = worker.joined.identity.client_config().unwrap();
    let read: Result<Standing, _> = post(manager.addr(), &tls, RAFT_READ, &()).await;
    assert!(matches!(read, Err(ClientError::Status { status: StatusCode::FORBIDDEN, .. })), "{read:?}");
}

#[tokio::test]
async fn a_managers_certificate_counts_for_as_long_as_it_is_one() {
    let (first, second, _third) = three().await;
    let tls = second.credentials.client_config();
    let read = async || post::<_, Standing>(first.addr(), &tls, RAFT_READ, &()).await;
    read().await.unwrap();
    first.log.propose(Command::SetRole { node: second.id(), manager: false }).await.unwrap();
    let outcome = read().await;
    assert!(matches!(outcome, Err(ClientError::Status { status: StatusCode::FORBIDDEN, .. })), "{outcome:?}");
    seen(second.credentials.watch(), |papers| !papers.certified.manager).await;
    let dir = second.stop().await;
    let kept: Identity = reopened(&dir).await.get(Key::Identity).unwrap().unwrap();
    assert!(shows(&shown(&kept), false), "what was renewed is not what a restart shows");
}

#[tokio::test]
async fn certificates_are_renewed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let lifetime = Cluster::SHORTEST_CERT_LIFETIME;
    let mut founded = init_cluster(&store, node(), lifetime).unwrap();
    // As if two thirds of its time had passed.
    let request = Request::new(founded.identity.node).unwrap();
    let old = overlay::model::Seconds(lifetime.0 / 3);
    let signed = founded.authority.sign(request.csr(), founded.identity.node, true, old).unwrap();
    founded.identity = request.complete(signed.chain, founded.authority.cert().to_owned()).unwrap();
    store.put(Key::Identity, &founded.identity).unwrap();
    drop(store);

    let ends = founded.identity.certified().unwrap().until;
    let manager = Manager::start_again(dir, founded).await;
    let papers = seen(manager.credentials.watch(), |papers| papers.certified.until > ends).await;
    let stream = tls_stream(&manager, &manager.credentials.client_config()).await.unwrap();
    let shown = Certified::of(&stream.get_ref().1.peer_certificates().unwrap()[0]);
    assert_eq!(shown.as_ref(), Some(&papers.certified), "who connects is shown another one");
    drop(stream);
    let (dir, _) = manager.stop().await;
    let stored: Identity = reopened(&dir).await.get(Key::Identity).unwrap().unwrap();
    assert_eq!(stored, papers.identity);
}

#[tokio::test]
async fn a_ca_is_rotated_while_requests_go_on() {
    let (first, second, third) = three().await;
    let worker = Member::join(&first).await;
    let (before, trusted) = (first.founded.token.clone(), first.founded.authority.clone());
    let ended = AtomicBool::new(false);
    let requests = async {
        let peers = Peers::new(Arc::clone(&worker.credentials));
        let mut number = 0;
        while !ended.load(Ordering::Relaxed) {
            number += 1;
            second.log.propose(network(&format!("net{number}"))).await.unwrap();
            worker.log.propose(renamed(&worker.log, worker.id(), &format!("name{number}"))).await.unwrap();
            let nodes: Vec<Node> = worker.log.watch().borrow().nodes.values().cloned().collect();
            for (node, answer) in peers.applied(nodes, 0, Duration::ZERO).await {
                assert!(answer.is_ok(), "{}: {answer:?}", node.hostname);
            }
        }
    };
    let next = Authority::new("next").unwrap();
    let rotation = async {
        third.log.propose(Command::AddCa(next.keys().clone())).await.unwrap();
        let done = |intent: &Arc<Intent>| {
            let trusted: Vec<&str> = intent.cluster.as_ref().unwrap().trusted().collect();
            trusted == [next.cert()]
        };
        for log in [&first.log, &second.log, &third.log, &worker.log] {
            seen(log.watch(), done).await;
        }
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(requests, rotation);

    for credentials in [&first.credentials, &second.credentials, &third.credentials, &worker.credentials] {
        let certified = credentials.now().certified.clone();
        assert!(certified.issuer_among([next.cert()].into_iter()).is_some());
    }
    let error = join(&before, first.addr(), node()).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongCluster { .. }), "{error}");
    let token = Token { ca: next.digest().unwrap(), ..before };
    join(&token, first.addr(), node()).await.unwrap();

    // What the old CA signs, after all that may be known of it, is worth nothing.
    let request = Request::new(worker.id()).unwrap();
    let signed = trusted.sign(request.csr(), worker.id(), true, Cluster::CERT_LIFETIME).unwrap();
    let forged = request.complete(signed.chain, next.cert().to_owned()).unwrap();
    let outcome = get(first.addr(), &forged.client_config().unwrap(), WATCH).await;
    assert!(matches!(outcome, Err(ClientError::Lost(_) | ClientError::Connect(_))), "{outcome:?}");
}
