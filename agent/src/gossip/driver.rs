//! Sockets, TLS and the clock around the node's state machine. It decides nothing about facts or members.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay::facts::NodeFact;
use overlay::model::{Endpoint, NodeId};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::exchange::{self, Ask, State};
use super::membership::Identity;
use super::node::{Input, Node, Output};
use super::seal::MAX_DATAGRAM;
use super::serving::Serving;
use super::{GossipConfig, GossipError, Keys, Peer, Snapshot};
use crate::identity::{Credentials, node_of, server_name};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an exchange may take, waiting for its turn included.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// In bytes: room for a burst of some 1,000 datagrams.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Pairs of a free TCP port and the same UDP port that are tried for port 0.
const PORT_TRIES: usize = 16;

/// What reaches the task that owns the state.
pub(super) enum Command {
    /// What this node knows.
    State(NodeFact, Vec<Endpoint>),
    /// This node stops, to be back within that time.
    Leave(Duration),
    /// From an exchange.
    Ask(Ask),
    /// An exchange that another node began succeeded.
    Served,
}

/// The task that owns the state.
pub(super) struct Driver {
    node: Node,
    udp: UdpSocket,
    credentials: Arc<Credentials>,
    peers: watch::Receiver<Vec<Peer>>,
    keys: watch::Receiver<Keys>,
    commands: mpsc::UnboundedReceiver<Command>,
    state: State,
    snapshot: watch::Sender<Arc<Snapshot>>,
    exchanges: JoinSet<anyhow::Result<()>>,
    /// The node that each exchange that was begun here is with.
    begun: HashMap<task::Id, NodeId>,
    started: Instant,
}

impl Driver {
    /// Opens the sockets. Returns the driver, where exchanges come in, the address of both, and the driver's snapshots.
    pub(super) async fn listen(
        config: GossipConfig,
        peers: watch::Receiver<Vec<Peer>>,
        commands: mpsc::UnboundedReceiver<Command>,
        to_self: mpsc::WeakUnboundedSender<Command>,
    ) -> Result<(Self, TcpListener, SocketAddr, watch::Receiver<Arc<Snapshot>>), GossipError> {
        let (tcp, udp, addr) = bind(config.bind).await?;
        let mut advertise = config.advertise;
        if advertise.port() == 0 {
            advertise.set_port(addr.port());
        }
        let me = Identity::new(config.me, advertise, config.generation);
        let mut keys = config.keys;
        let node = Node::new(&me, keys.borrow_and_update().clone(), config.signer, rand::random());
        let (snapshot, watched) = watch::channel(node.snapshot());
        let driver = Self {
            node,
            udp,
            credentials: config.credentials,
            peers,
            keys,
            commands,
            state: State::new(to_self),
            snapshot,
            exchanges: JoinSet::new(),
            begun: HashMap::new(),
            started: Instant::now(),
        };
        Ok((driver, tcp, addr, watched))
    }

    /// Runs until the handle is dropped. Exchanges under way end with it.
    pub(super) async fn run(self, tcp: TcpListener) {
        let serving = Serving::new(Arc::clone(&self.credentials), self.state.clone(), self.peers.clone());
        tokio::select! {
            () = self.drive() => {}
            () = serving.run(tcp) => {}
        }
    }

    async fn drive(mut self) {
        let peers = self.peers.borrow_and_update().clone();
        self.handle(Input::Peers(peers)).await;
        // One byte more than allowed, so that a longer datagram shows as one.
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        let (mut intent_follows, mut keys_follow) = (true, true);
        loop {
            let wake = self.node.next_wake().map(|at| self.started + at);
            let input = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::State(fact, endpoints)) => Input::State(fact, endpoints),
                    Some(Command::Leave(hold)) => Input::Leave(hold),
                    Some(Command::Served) => Input::SyncServed,
                    Some(Command::Ask(ask)) => {
                        let outputs = self.node.answer_exchange(ask, self.started.elapsed());
                        self.carry_out(outputs).await;
                        continue;
                    }
                    None => return,
                },
                received = self.udp.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => Input::Datagram(buffer[..length].to_vec(), from),
                    Err(error) => {
                        tracing::debug!(%error, "receiving");
                        continue;
                    }
                },
                changed = self.peers.changed(), if intent_follows => {
                    intent_follows = changed.is_ok();
                    Input::Peers(self.peers.borrow_and_update().clone())
                }
                changed = self.keys.changed(), if keys_follow => {
                    keys_follow = changed.is_ok();
                    Input::Keys(self.keys.borrow_and_update().clone())
                }
                Some(ended) = self.exchanges.join_next_with_id() => match self.ended(ended) {
                    Some(input) => input,
                    None => continue,
                },
                () = sleep_until(wake) => Input::Wake,
            };
            self.handle(input).await;
        }
    }

    async fn handle(&mut self, input: Input) {
        let outputs = self.node.handle(input, self.started.elapsed());
        self.carry_out(outputs).await;
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { to, datagram } => {
                    if let Err(error) = self.udp.send_to(&datagram, to).await {
                        tracing::debug!(%error, %to, "sending");
                    }
                }
                Output::Sync(peer) => self.begin(peer),
                Output::Publish(snapshot) => {
                    self.snapshot.send_replace(snapshot);
                }
            }
        }
    }

    fn begin(&mut self, peer: Peer) {
        let (credentials, state, node) = (Arc::clone(&self.credentials), self.state.clone(), peer.node);
        let exchange = async move { timeout(EXCHANGE_TIMEOUT, initiate(&credentials, &peer, &state)).await? };
        let task = self.exchanges.spawn(exchange);
        self.begun.insert(task.id(), node);
    }

    fn ended(&mut self, ended: Result<(task::Id, anyhow::Result<()>), task::JoinError>) -> Option<Input> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(error.into())),
        };
        let peer = self.begun.remove(&id)?;
        if let Err(error) = &result {
            tracing::debug!(%peer, "exchange: {error:#}");
        }
        Some(Input::SyncEnded(peer, result.is_ok()))
    }
}

/// Begins an exchange with a peer, under the certificates as they are now.
async fn initiate(credentials: &Credentials, peer: &Peer, state: &State) -> anyhow::Result<()> {
    let connect = async {
        let stream = TcpStream::connect(peer.addr).await?;
        TlsConnector::from(credentials.client_config()).connect(server_name(), stream).await
    };
    let mut stream = timeout(CONNECT_TIMEOUT, connect).await??;
    let node = shown(stream.get_ref().1.peer_certificates());
    anyhow::ensure!(node == Some(peer.node), "{} is not node {}", peer.addr, peer.node);
    exchange::initiate(&mut stream, state).await?;
    Ok(())
}

/// The node whose certificate the other end showed.
pub(super) fn shown(certificates: Option<&[CertificateDer<'_>]>) -> Option<NodeId> {
    certificates.and_then(|chain| chain.first()).and_then(node_of)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Listens on the same TCP and UDP port.
async fn bind(addr: SocketAddr) -> Result<(TcpListener, UdpSocket, SocketAddr), GossipError> {
    let refused = |proto, addr| move |source| GossipError::Listen { proto, addr, source };
    let mut tries = if addr.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        let tcp = TcpListener::bind(addr).await.map_err(refused("TCP", addr))?;
        let bound = tcp.local_addr().map_err(refused("TCP", addr))?;
        tries -= 1;
        match UdpSocket::bind(bound).await {
            Ok(udp) => {
                // Best effort: the kernel caps it at net.core.rmem_max, and what is lost is repaired.
                let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER);
                return Ok((tcp, udp, bound));
            }
            Err(_) if tries > 0 => {}
            Err(source) => return Err(refused("UDP", bound)(source)),
        }
    }
}
