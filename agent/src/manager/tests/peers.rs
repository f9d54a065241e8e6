use std::net::TcpListener;

use overlay::model::{PortRange, Protocol, ServiceId};

use super::*;
use crate::manager::{JoinError, Peers};

/// A worker that serves what every node answers, and its node with the port that it serves on.
pub(in crate::manager) async fn serving(worker: Worker, applied: &watch::Sender<u64>) -> (Node, Server) {
    let Worker { joined, store, log, .. } = worker;
    let id = joined.identity.node;
    let known = log.watch().borrow().nodes[&id].clone();
    let listen = SocketAddr::new(known.addr, 0);
    let here = Here { traffic: Arc::new(|| Ok(counted())), ..here(applied.subscribe()) };
    let credentials = shown(&joined.identity);
    let (role, _ends_at_once) = Role::start(Arc::clone(&credentials), store, log.watch());
    let server = Server::start(listen, Arc::new(log), credentials, role, here).await.unwrap();
    (Node { api_port: server.local_addr().port(), ..known }, server)
}

/// What its data path counted.
fn counted() -> Traffic {
    let drops = [((ServiceId::from_bytes([1; 16]), "too_big".to_owned()), 7)].into();
    Traffic { drops, ..Traffic::default() }
}

#[tokio::test]
async fn any_node_tells_any_other_what_it_holds() {
    let manager = Manager::start().await;
    let applied = watch::Sender::new(3);
    let (node, _server) = serving(manager.worker().await, &applied).await;
    let peers = Peers::new(shown(&manager.founded.identity));

    let listener = TcpListener::bind((node.addr, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // The listener is at a loopback address, as everything in this test, and so holds no port that others reach.
    let ports = [(Protocol::Tcp, PortRange::new(port, port).unwrap())];
    assert_eq!(peers.held(vec![node.clone()], &ports).await, [(node.clone(), Ok(vec![]))]);
    let open = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = open.local_addr().unwrap().port();
    let ports = [(Protocol::Tcp, PortRange::new(port, port).unwrap())];
    let [(_, Ok(held))] = &peers.held(vec![node.clone()], &ports).await[..] else { panic!("no answer") };
    assert_eq!((held[0].protocol, held[0].port), (Protocol::Tcp, port));
    assert!(held[0].holder.contains(&std::process::id().to_string()), "{held:?}");

    let most = vec![(Protocol::Tcp, "10000-65535".parse().unwrap()); 100];
    let [(_, answer)] = &peers.held(vec![node.clone()], &most).await[..] else { panic!("one answer") };
    assert!(answer.is_ok(), "as many ports as a service has are asked for at once: {answer:?}");

    let wait = Duration::from_secs(5);
    assert_eq!(peers.applied(vec![node.clone()], 3, wait).await, [(node.clone(), Ok(3))]);
    let reached = peers.applied(vec![node.clone()], 4, wait);
    let (answer, _) = tokio::join!(reached, async { applied.send_replace(4) });
    assert_eq!(answer, [(node.clone(), Ok(4))]);
    assert_eq!(peers.applied(vec![node.clone()], 5, Duration::ZERO).await, [(node.clone(), Ok(4))]);
    assert_eq!(peers.traffic(vec![node.clone()]).await, [(node, Ok(counted()))]);
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_with_the_cause() {
    let manager = Manager::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node { addr: silent.ip(), api_port: silent.port(), ..node() };
    let peers = Peers::new(shown(&manager.founded.identity));
    let [(_, Err(cause))] = &peers.applied(vec![node], 1, Duration::ZERO).await[..] else {
        panic!("it answers")
    };
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn a_stranger_is_told_nothing_and_a_newcomer_that_this_is_no_manager() {
    let manager = Manager::start().await;
    let (node, server) = serving(manager.worker().await, &watch::Sender::new(3)).await;
    let stranger = Manager::start().await;
    let peers = Peers::new(shown(&stranger.founded.identity));
    let [(_, answer)] = &peers.applied(vec![node], 1, Duration::ZERO).await[..] else { panic!("one answer") };
    assert!(answer.is_err(), "{answer:?}");

    let error = join(&manager.founded.token, server.local_addr(), super::node()).await.unwrap_err();
    assert!(matches!(error, JoinError::NoManager { .. }), "{error}");
}
