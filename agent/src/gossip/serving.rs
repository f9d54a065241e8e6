//! The exchanges that other nodes begin: who may, and how many at a time. Whoever connects costs little and not for long, and
//! strangers take no member's place.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use overlay::model::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Peer;
use super::driver::{EXCHANGE_TIMEOUT, shown};
use super::exchange::{self, State};
use crate::identity::{ClientCertificate, Credentials};
use crate::strangers::places::{Holder, Place, Places};
use crate::strangers::refusals::{Kind, Refusals};

/// Exchanges that are under way at a time, since each may bring a lot; the others wait for their turn.
const TURNS: usize = 16;
/// Members' connections, those that wait among them: one of each of 1,000 nodes.
const MEMBERS: usize = 1024;
/// Connections of those who have shown no certificate yet. A handshake takes some milliseconds.
const STRANGERS: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after the kernel refused a connection: out of file descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What exchanges are served with; clones share it.
#[derive(Clone)]
pub(super) struct Serving {
    credentials: Arc<Credentials>,
    state: State,
    peers: watch::Receiver<Vec<Peer>>,
    refusals: Arc<Refusals>,
    members: Places,
    turns: Arc<Semaphore>,
}

impl Serving {
    /// For `peers`, the nodes of the intent.
    pub(super) fn new(
        credentials: Arc<Credentials>,
        state: State,
        peers: watch::Receiver<Vec<Peer>>,
    ) -> Self {
        Self {
            credentials,
            state,
            peers,
            refusals: Arc::new(Refusals::new("gossip")),
            members: Places::new(MEMBERS),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// Serves until it is dropped.
    pub(super) async fn run(self, listener: TcpListener) {
        let strangers = Places::new(STRANGERS);
        let mut connections = JoinSet::new();
        loop {
            let accepted = listener.accept().await;
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let place = strangers.take(Holder::Stranger(peer.ip().into()));
                    let served = self.clone().serve(stream, peer.ip(), place);
                    connections.spawn(async move {
                        if let Err(error) = served.await {
                            tracing::debug!(%peer, "an exchange ended: {error:#}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "gossip cannot take a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection, which has a stranger's place to begin with.
    async fn serve(self, stream: TcpStream, addr: IpAddr, mut place: Place) -> anyhow::Result<()> {
        let mut stream = tokio::select! {
            stream = self.handshake(stream) => stream.inspect_err(|error| {
                self.refusals.log(Kind::of_handshake(error), addr, &error.to_string());
            })?,
            () = place.lost() => return Err(self.refuse(Kind::Crowd, addr, "there are too many connections")),
        };
        let node = self.member(&stream);
        let node = node.map_err(|node| {
            self.refuse(Kind::NoMember, addr, &format!("{node:?} is no node of the cluster"))
        })?;
        place = self.members.take(Holder::Member(node));
        tokio::select! {
            served = timeout(EXCHANGE_TIMEOUT, self.respond(&mut stream)) => served?,
            () = place.lost() => Err(self.refuse(Kind::Crowd, addr, "there are too many connections of members")),
        }
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.credentials.server_config(ClientCertificate::Required));
        timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.map_err(io::Error::from).flatten()
    }

    /// The node at the other end, if the intent has it; else who it says that it is.
    fn member(&self, stream: &TlsStream<TcpStream>) -> Result<NodeId, Option<NodeId>> {
        let node = shown(stream.get_ref().1.peer_certificates());
        let known = |node: &NodeId| self.peers.borrow().iter().any(|peer| peer.node == *node);
        node.filter(known).ok_or(node)
    }

    async fn respond(&self, stream: &mut TlsStream<TcpStream>) -> anyhow::Result<()> {
        let _turn = self.turns.acquire().await.context("gossip is being stopped")?;
        exchange::respond(stream, &self.state).await?;
        self.state.served();
        Ok(())
    }

    fn refuse(&self, kind: Kind, addr: IpAddr, cause: &str) -> anyhow::Error {
        self.refusals.log(kind, addr, cause);
        anyhow::anyhow!("{cause}")
    }
}
