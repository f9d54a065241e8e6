//! Connections on which nothing is heard. Time stands still here and leaps to the next deadline.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::client::get;
use super::super::wire::WATCH;
use super::*;
use crate::identity::ClientCertificate;

#[tokio::test]
async fn a_follower_hears_from_its_manager_though_nothing_changes() {
    let manager = Manager::start().await;
    let member = manager.founded.identity.client_config().unwrap();
    let mut body = get(manager.addr(), &member, WATCH).await.unwrap();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(whole(&first), **manager.log.watch().borrow());
    tokio::time::pause();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), Bytes::from_static(b"\n"));
}

#[tokio::test]
async fn a_command_goes_on_to_the_next_manager_when_one_stands_still() {
    let manager = Manager::start().await;
    // It takes connections, as the kernel does for a process that has stopped, and says nothing.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seeds = vec![frozen.local_addr().unwrap(), manager.addr()];
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = Follower::start(store, shown(&manager.founded.identity), seeds).unwrap();
    log.propose(network("net")).await.unwrap();
}

#[tokio::test]
async fn a_follower_gives_up_a_manager_that_falls_silent() {
    let manager = Manager::start().await;
    let founded = &manager.founded;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(founded.identity.server_config(ClientCertificate::Required).unwrap());
    let silent = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let line = r#"{"whole":"#.to_owned() + &serde_json::to_string(&Intent::default()).unwrap() + "}\n";
        let chunk = format!("{head}{:x}\r\n{line}\r\n", line.len());
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let _ = stream.read(&mut request).await;
    });

    let dir = tempfile::tempdir().unwrap();
    let log =
        Follower::start(Store::open(dir.path()).unwrap(), shown(&founded.identity), vec![addr]).unwrap();
    seen(log.status(), |link| link.reachable).await;
    tokio::time::pause();
    let link = seen(log.status(), |link| !link.reachable).await;
    assert!(link.last_error.unwrap().contains("nothing was heard"));
    silent.await.unwrap();
}
