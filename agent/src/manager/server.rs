//! Serves the manager API: connections, TLS and their bounds. What is asked on them is `routes`.
//!
//! Whoever connects costs little and not for long: handshake, headers and bodies have deadlines and sizes, and
//! a peer that stops taking what it is sent is cut off by the kernel. Strangers take no member's place.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use overlay::intent::Intent;
use overlay::model::NodeId;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::routes::{Context, Peer, router};
use super::{Here, IntentLog, ManagerError, Role, peers};
use crate::identity::{Certified, ClientCertificate, Credentials};
use crate::strangers::places::{Holder, Place, Places};
use crate::strangers::refusals::{Kind, Refusals};

/// Members' connections at a time: a follower each of 1,000 nodes, and room for their requests.
const MEMBERS: usize = 2048;
/// Connections of those who have shown no certificate, yet or at all. A handshake takes some milliseconds.
const STRANGERS: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read ahead of a connection, headers included, in bytes.
const READ_BUFFER: usize = 64 << 10;
/// How long a peer may leave what it was sent unacknowledged.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stop waits for the requests under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after the kernel refused a connection: out of file descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The manager API, being served. It ends when this is dropped, or better by [`Server::stop`].
pub struct Server {
    local_addr: SocketAddr,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on `listen`, with this node's certificate: what every node answers, from `here`, and while `role` runs, what a
    /// manager does. `log` tells who is a member.
    ///
    /// # Errors
    /// [`ManagerError::Listen`] for a taken port.
    pub async fn start(
        listen: SocketAddr,
        log: Arc<dyn IntentLog>,
        credentials: Arc<Credentials>,
        role: Role,
        here: Here,
    ) -> Result<Self, ManagerError> {
        let not_listening = |source| ManagerError::Listen { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(not_listening)?;
        let local_addr = listener.local_addr().map_err(not_listening)?;
        let (stop, stopped) = watch::channel(());
        let refusals = Arc::new(Refusals::new("the manager API"));
        let intent = log.watch();
        let context = Context {
            log,
            role,
            refusals: Arc::clone(&refusals),
            holder: Arc::clone(&here.holder),
            stopped: stopped.clone(),
        };
        let router = router(context, peers::router(here));
        let members = Places::new(MEMBERS);
        let serving = Serving { credentials, router, refusals, intent, stopped, members };
        let task = tokio::spawn(accept(listener, serving));
        tracing::info!(%local_addr, "the manager API is served");
        Ok(Self { local_addr, stop, task })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more requests, ends the watches, and waits a few seconds for the requests under way. The
    /// port is free afterwards.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the manager API ended badly");
        }
    }
}

/// Closed, not changed, when it is time to stop: so a forgotten server stops as well.
pub(super) type Stopped = watch::Receiver<()>;

pub(super) async fn stop(stopped: &mut Stopped) {
    while stopped.changed().await.is_ok() {}
}

#[derive(Clone)]
struct Serving {
    credentials: Arc<Credentials>,
    router: Router,
    refusals: Arc<Refusals>,
    intent: watch::Receiver<Arc<Intent>>,
    stopped: Stopped,
    members: Places,
}

async fn accept(listener: TcpListener, mut serving: Serving) {
    let strangers = Places::new(STRANGERS);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop(&mut serving.stopped) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let place = strangers.take(Holder::Stranger(peer.ip().into()));
                let connection = serve(stream, peer.ip(), place, serving.clone());
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, %error, "a connection to the manager API ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the manager API cannot take a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_TIMEOUT, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// Serves a connection, which has a stranger's place to begin with.
async fn serve(stream: TcpStream, addr: IpAddr, mut place: Place, mut serving: Serving) -> io::Result<()> {
    let stream = tokio::select! {
        stream = handshake(stream, &serving.credentials) => stream.inspect_err(|error| {
            serving.refusals.log(Kind::of_handshake(error), addr, &error.to_string());
        })?,
        () = place.lost() => return Err(crowded(&serving.refusals, addr)),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let shown = certificates.and_then(|chain| chain.first()).and_then(Certified::of).map(Arc::new);
    let node = shown.as_ref().map(|shown| shown.node);
    if let Some(node) = node {
        place = serving.members.take(Holder::Member(node));
    }
    let router = serving.router.layer(Extension(Peer { shown, addr }));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(READ_BUFFER)
            // What a connection is idle for counts as the time that a header may take.
            .keep_alive(node.is_some())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = removed(&mut serving.intent, node) => return Err(io::Error::other("the node was removed")),
        () = place.lost() => return Err(crowded(&serving.refusals, addr)),
        () = stop(&mut serving.stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let (Err(error), None) = (&served, node)
        && error.is_timeout()
    {
        serving.refusals.log(Kind::Slow, addr, "the request's headers do not come to an end");
    }
    served.map_err(io::Error::other)
}

async fn handshake(stream: TcpStream, credentials: &Credentials) -> io::Result<TlsStream<TcpStream>> {
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(credentials.server_config(ClientCertificate::Optional));
    timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.map_err(io::Error::from).flatten()
}

fn crowded(refusals: &Refusals, addr: IpAddr) -> io::Error {
    let cause = "there are too many connections, and most are its own";
    refusals.log(Kind::Crowd, addr, cause);
    io::Error::other(cause)
}

/// Once that node is removed from the cluster.
async fn removed(intent: &mut watch::Receiver<Arc<Intent>>, node: Option<NodeId>) {
    let gone = |intent: &Arc<Intent>| node.is_some_and(|node| intent.removed.contains(&node));
    if intent.wait_for(gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}
