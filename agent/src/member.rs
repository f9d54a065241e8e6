//! A membership in effect: intent followed (or held, on a manager), facts gossiped.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use overlay::api::ApiError;
use overlay::config::Config;
use overlay::facts::NodeFact;
use overlay::hex;
use overlay::intent::{Command, Intent};
use overlay::model::{Node, NodeId};
use overlay::reconcile::links::Underlay;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::clock;
use crate::gossip::{FactsKey, Gossip, GossipConfig, Keys, Peer, Signer, Snapshot};
use crate::identity::{Credentials, Identity};
use crate::kernel::bpf::Observer;
use crate::kernel::netlink::Netlink;
use crate::manager::{
    CaSteward, Follower, Here, HolderOf, IntentLog, KeySteward, Peers, Renewal, Role, RoleTask, Server,
    stored_intent,
};
use crate::refusal::internal;
use crate::state::MemberHandle;
use crate::store::{Key, Store};

/// How often a changed description of this node is proposed while no manager takes it.
const DESCRIBE_AGAIN: Duration = Duration::from_secs(30);

/// How long a node that is being removed tries to reach the others.
const WITHDRAWING: Duration = Duration::from_secs(3);

/// A membership in effect.
pub struct Member {
    node: NodeId,
    addr: IpAddr,
    log: Arc<dyn IntentLog>,
    role: Role,
    role_task: RoleTask,
    server: Server,
    peers: Arc<Peers>,
    /// The version of the intent that the kernel holds.
    applied: watch::Sender<u64>,
    gossip: Gossip,
    intent: watch::Receiver<Arc<Intent>>,
    facts: watch::Receiver<Arc<Snapshot>>,
    /// What goes wrong with this node's certificate.
    certificate: watch::Receiver<Option<String>>,
    helpers: Vec<JoinHandle<()>>,
}

impl Member {
    /// Puts the stored membership into effect; `None` if the store holds none. `seeds` are managers to follow
    /// besides those that the stored intent names. Other nodes are told of what `observer` reads.
    ///
    /// # Errors
    /// A port that is taken, a store that can't be read or written.
    pub async fn start(
        config: &Config,
        store: &Store,
        seeds: Vec<SocketAddr>,
        observer: Arc<Observer>,
    ) -> Result<Option<Self>, ApiError> {
        let Some(identity) = store.get::<Identity>(Key::Identity)? else { return Ok(None) };
        let node = identity.node;
        let addr = stored_addr(store, node)?;
        let listen = SocketAddr::new(addr, config.api_port);
        let credentials = Credentials::new(identity)?;
        let log = Follower::start(store.clone(), Arc::clone(&credentials), seeds)?;
        let log: Arc<dyn IntentLog> = Arc::new(log);
        let (role, role_task) = Role::start(Arc::clone(&credentials), store.clone(), log.watch());
        let applied = watch::Sender::new(0);
        let known_facts = Arc::new(OnceLock::new());
        let here = Here {
            applied: applied.subscribe(),
            traffic: Arc::new(move || observer.traffic()),
            holder: holder(Arc::clone(&known_facts)),
        };
        let server =
            Server::start(listen, Arc::clone(&log), Arc::clone(&credentials), role.clone(), here).await?;
        let others = Arc::new(Peers::new(Arc::clone(&credentials)));
        let intent = Arc::clone(&log.watch().borrow());
        let (peers, known) = watch::channel(peers_of(&intent));
        let (keys, held) = watch::channel(keys_of(&intent)?);
        let gossip = gossip(config, store, Arc::clone(&credentials), addr, known, held).await?;
        drop(known_facts.set(gossip.watch()));
        let trouble = watch::Sender::new(None);
        let certificate = trouble.subscribe();
        let renewal = Renewal { credentials, log: Arc::clone(&log), store: store.clone(), trouble };
        let ca = CaSteward {
            me: node,
            log: Arc::clone(&log),
            peers: Arc::clone(&others),
            applied: applied.subscribe(),
        };
        let keys_steward = KeySteward {
            me: node,
            log: Arc::clone(&log),
            peers: Arc::clone(&others),
            facts: gossip.watch(),
            applied: applied.subscribe(),
        };
        let helpers = vec![
            tokio::spawn(tell_gossip(log.watch(), peers, keys)),
            tokio::spawn(keep_described(
                config.clone(),
                node,
                addr,
                Signer::of(store)?.key(),
                Arc::clone(&log),
            )),
            tokio::spawn(renewal.run()),
            tokio::spawn(role.clone().while_leading(move || keys_steward.clone().run())),
            tokio::spawn(role.clone().while_leading(move || ca.clone().run())),
        ];
        let (intent, facts) = (log.watch(), gossip.watch());
        info!(node = %node.short(), %addr, "member of the cluster");
        Ok(Some(Self {
            node,
            addr,
            log,
            role,
            role_task,
            server,
            peers: others,
            applied,
            gossip,
            intent,
            facts,
            certificate,
            helpers,
        }))
    }

    /// Takes back what the stored membership's last boot stated and asked to be kept: this node is being removed. Tells as
    /// many nodes as it reaches in a moment, and those tell the rest.
    ///
    /// # Errors
    /// A port that is taken, a store that can't be read or written, no underlay.
    pub async fn withdraw(config: &Config, store: &Store) -> anyhow::Result<()> {
        let Some(identity) = store.get::<Identity>(Key::Identity)? else { return Ok(()) };
        let addr = stored_addr(store, identity.node)?;
        let intent = stored_intent(store)?;
        let underlay = Netlink::open()?.underlay(addr).await?;
        let (_peers, known) = watch::channel(peers_of(&intent));
        let (_keys, held) = watch::channel(keys_of(&intent)?);
        let credentials = Credentials::new(identity)?;
        credentials.follow(&intent)?;
        let gossip = gossip(config, store, credentials, addr, known, held).await?;
        gossip.state(node_fact(&underlay), Vec::new());
        let all = |snapshot: &Snapshot| snapshot.synced && snapshot.alive.len() >= intent.nodes.len();
        drop(tokio::time::timeout(WITHDRAWING, gossip.watch().wait_for(|now| all(now))).await);
        gossip.pushed().await;
        gossip.stop().await;
        Ok(())
    }

    /// This node.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The address that it advertises.
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Whether a manager is reached now.
    pub fn reaches_manager(&self) -> bool {
        self.log.status().borrow().reachable
    }

    /// Tells who waits for it that the kernel holds this version of the intent.
    pub fn applied(&self, version: u64) {
        self.applied.send_if_modified(|held| std::mem::replace(held, version) != version);
    }

    /// How facts travel.
    pub const fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// The newest intent.
    pub fn intent(&self) -> Arc<Intent> {
        Arc::clone(&self.intent.borrow())
    }

    /// The newest facts.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.facts.borrow())
    }

    /// For those who only look or propose.
    pub fn handle(&self) -> MemberHandle {
        MemberHandle {
            node: self.node,
            log: Arc::clone(&self.log),
            facts: self.facts.clone(),
            manager: self.log.status(),
            role: self.role.clone(),
            peers: Arc::clone(&self.peers),
            applied: self.applied.subscribe(),
            certificate: self.certificate.clone(),
        }
    }

    /// When intent or facts have changed since the last call.
    pub async fn changed(&mut self) {
        // Neither sender ends before the member does.
        tokio::select! {
            _ = self.intent.changed() => {}
            _ = self.facts.changed() => {}
        }
        self.intent.mark_unchanged();
        self.facts.mark_unchanged();
    }

    /// Ends everything that talks to other nodes. They are asked to keep this node's facts for `hold`, if that is not zero.
    pub async fn stop(self, hold: Duration) {
        for helper in self.helpers {
            helper.abort();
        }
        if !hold.is_zero() {
            self.gossip.leave(hold).await;
        }
        self.gossip.stop().await;
        self.server.stop().await;
        self.role_task.stop().await;
    }
}

/// Which node holds an endpoint by the facts, once there are some.
fn holder(facts: Arc<OnceLock<watch::Receiver<Arc<Snapshot>>>>) -> HolderOf {
    Arc::new(move |endpoint| {
        let snapshot = Arc::clone(&facts.get()?.borrow());
        let found = snapshot.view.endpoints().find(|(_, known)| known.id == endpoint);
        found.map(|(owner, _)| owner)
    })
}

/// What this node states of itself.
pub fn node_fact(underlay: &Underlay) -> NodeFact {
    NodeFact {
        vtep: underlay.vtep,
        underlay_mtu: underlay.mtu,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The address that this node advertises, as that intent says.
fn stored_addr(store: &Store, node: NodeId) -> Result<IpAddr, ApiError> {
    let addr = stored_intent(store)?.nodes.get(&node).map(|node| node.addr);
    addr.ok_or_else(|| internal(anyhow::anyhow!("the stored intent does not name this node")))
}

async fn gossip(
    config: &Config,
    store: &Store,
    credentials: Arc<Credentials>,
    addr: IpAddr,
    peers: watch::Receiver<Vec<Peer>>,
    keys: watch::Receiver<Keys>,
) -> Result<Gossip, ApiError> {
    let listen = SocketAddr::new(addr, config.gossip_port);
    let gossip = GossipConfig {
        me: credentials.now().identity.node,
        generation: store.next_generation(clock::unix_ms())?,
        signer: Signer::of(store)?,
        bind: listen,
        advertise: listen,
        keys,
        credentials,
    };
    Gossip::start(gossip, peers).await.map_err(internal)
}

/// Keeps gossip's list of peers, and its keys, as intent has them.
async fn tell_gossip(
    mut intent: watch::Receiver<Arc<Intent>>,
    peers: watch::Sender<Vec<Peer>>,
    keys: watch::Sender<Keys>,
) {
    loop {
        let now = Arc::clone(&intent.borrow_and_update());
        peers.send_replace(peers_of(&now));
        match keys_of(&now) {
            Ok(now) => {
                keys.send_if_modified(|known| {
                    *known != now && {
                        *known = now;
                        true
                    }
                });
            }
            Err(error) => warn!(%error, "gossip keeps the keys that it has"),
        }
        if intent.changed().await.is_err() {
            return;
        }
    }
}

fn peers_of(intent: &Intent) -> Vec<Peer> {
    let peer = |node: &Node| Peer {
        node: node.id,
        addr: SocketAddr::new(node.addr, node.gossip_port),
        facts_key: hex::decode(&node.facts_key),
    };
    intent.nodes.values().map(peer).collect()
}

fn keys_of(intent: &Intent) -> Result<Keys, ApiError> {
    let keys = intent.cluster.as_ref().and_then(|cluster| Keys::of(&cluster.gossip));
    keys.ok_or_else(|| internal(anyhow::anyhow!("the intent holds no usable gossip keys")))
}

/// Tells the managers when what they know of this node is no longer true: after an upgrade, or when its
/// interfaces' subnets have changed.
async fn keep_described(config: Config, node: NodeId, addr: IpAddr, key: FactsKey, log: Arc<dyn IntentLog>) {
    let mut tick = tokio::time::interval(DESCRIBE_AGAIN);
    loop {
        tick.tick().await;
        let intent = Arc::clone(&log.watch().borrow());
        let Some(known) = intent.nodes.get(&node) else { continue };
        let now = match crate::describe::node(&config, node, addr, known.manager, &key).await {
            Ok(now) => now.kept_by(known),
            Err(error) => {
                warn!(error = format!("{error:#}"), "cannot describe this node");
                continue;
            }
        };
        if now != *known
            && let Err(error) = log.propose(Command::PutNode(now)).await
        {
            warn!(%error, "the managers do not take this node's new description yet");
        }
    }
}
