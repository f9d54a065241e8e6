//! Serves the manager API: connections, TLS and their bounds. What is asked on them is `routes`.
//!
//! Whoever connects costs little and not for long: handshake, headers and bodies have deadlines and sizes, and
//! a peer that stops taking what it is sent is cut off by the kernel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::routes::{Peer, router};
use super::{Here, IntentLog, ManagerError, Role, peers};
use crate::identity::{ClientCertificate, Identity, node_of};

/// Connections at a time: a follower each of 1,000 nodes, and room for their requests.
const CONNECTIONS: usize = 2048;
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
    /// [`ManagerError::Listen`] for a taken port, [`ManagerError::Identity`].
    pub async fn start(
        listen: SocketAddr,
        log: Arc<dyn IntentLog>,
        identity: &Identity,
        role: Role,
        here: Here,
    ) -> Result<Self, ManagerError> {
        let tls = identity.server_config(ClientCertificate::Optional)?;
        let not_listening = |source| ManagerError::Listen { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(not_listening)?;
        let local_addr = listener.local_addr().map_err(not_listening)?;
        let (stop, stopped) = watch::channel(());
        let router = router(log, role, stopped.clone(), peers::router(here));
        let task = tokio::spawn(accept(listener, Serving { tls: tls.into(), router, stopped }));
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
    tls: TlsAcceptor,
    router: Router,
    stopped: Stopped,
}

async fn accept(listener: TcpListener, mut serving: Serving) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let admitted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop(&mut serving.stopped) => break,
            admitted = admitted => admitted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection = serve(stream, serving.clone());
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, %error, "a connection to the manager API ended");
                    }
                    drop(permit);
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

async fn serve(stream: TcpStream, mut serving: Serving) -> io::Result<()> {
    let addr = stream.peer_addr()?.ip();
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_TIMEOUT, serving.tls.accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates();
    let node = certificates.and_then(|chain| chain.first()).and_then(node_of);
    let router = serving.router.layer(Extension(Peer { node, addr }));
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
        () = stop(&mut serving.stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(io::Error::other)
}
