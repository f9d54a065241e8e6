//! What a follower is sent, over a real connection.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use overlay::intent::Revision;

use super::super::client::get;
use super::super::wire::WATCH;
use super::*;
use crate::identity::Identity;

async fn follow(manager: &Manager, identity: &Identity, query: &str) -> Incoming {
    let tls = identity.client_config().unwrap();
    get(manager.addr(), &tls, &format!("{WATCH}{query}")).await.unwrap()
}

/// What is sent up to the end of a line; nothing, if the stream ends.
async fn line(body: &mut Incoming) -> Option<Bytes> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let frame = timeout(Duration::from_secs(30), body.frame()).await.expect("nothing is sent");
        line.extend_from_slice(&frame?.ok()?.into_data().unwrap());
    }
    Some(line.into())
}

#[tokio::test]
async fn a_change_to_a_large_intent_is_a_small_line() {
    let manager = Manager::start().await;
    for number in 0..100 {
        manager.log.propose(network(&format!("net{number}"))).await.unwrap();
    }
    let mut body = follow(&manager, &manager.founded.identity, "").await;
    let first = line(&mut body).await.unwrap();
    assert_eq!(whole(&first), **manager.log.watch().borrow());
    manager.log.propose(network("another")).await.unwrap();
    let change = line(&mut body).await.unwrap();
    assert!(change.len() < 1000 && first.len() > 20_000, "{} after {} bytes", change.len(), first.len());
}

#[tokio::test]
async fn who_holds_the_newest_is_told_so_in_a_byte() {
    let manager = Manager::start().await;
    let revision = Revision::of(&manager.log.watch().borrow());
    let mut body = follow(&manager, &manager.founded.identity, &format!("?held={revision}")).await;
    assert_eq!(line(&mut body).await.unwrap(), Bytes::from_static(b"\n"));
    manager.log.propose(network("net")).await.unwrap();
    assert!(line(&mut body).await.unwrap().starts_with(br#"{"change""#));
}

#[tokio::test]
async fn the_stream_of_a_node_that_is_removed_ends() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    let identity = &worker.joined.identity;
    let mut body = follow(&manager, identity, "").await;
    line(&mut body).await.unwrap();
    manager.log.propose(Command::RemoveNode { id: identity.node, force: true }).await.unwrap();
    assert_eq!(line(&mut body).await, None);
    let link = seen(worker.log.status(), |link| !link.reachable).await;
    assert!(link.last_error.is_some());
}
