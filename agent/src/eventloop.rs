//! The one loop where events meet the core: requests, new intent, new facts, changes in the kernel and the tick
//! lead to one pass of the reconciler and to what this node states of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay::api::ApiError;
use overlay::attach;
use overlay::config::Config;
use overlay::facts::View;
use overlay::intent::{Command, GrantBlock, Intent};
use overlay::model::{Attachment, Endpoint, EndpointId, NodeId};
use overlay::reconcile::links::Underlay;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use crate::clock;
use crate::kernel::netns;
use crate::manager::{self, insist};
use crate::member::{Member, node_fact};
use crate::reconciler::{Reconciler, Wanted};
use crate::state::{Local, Shared};
use crate::store::{Key, Store};

/// How often everything is read from the kernel and compared, whether or not anything was heard of: foreign
/// changes to the tables, which raise no event, and steps that failed wait at most this long.
const TICK: Duration = Duration::from_secs(5);

/// How long after a drained backend was detached its drain is forgotten: by then every node knows that it is gone, and
/// none takes it for one that may have flows again.
const FORGET_DRAIN: Duration = Duration::from_secs(60);

/// What the local API asks of the loop.
pub enum Request {
    /// Puts the membership that init or join stored into effect; these managers are followed at first.
    Join(Vec<SocketAddr>, Reply<()>),
    /// Makes this manager the only one of its cluster.
    BeginAnew(Reply<()>),
    /// Ends the membership and forgets it, with every endpoint here.
    Leave(Reply<()>),
    /// Attaches a namespace, or says which block of addresses it takes first.
    Attach(Box<AttachRequest>, Reply<Attached>),
    /// Detaches a local endpoint.
    Detach(EndpointId, Reply<Endpoint>),
    /// Publishes the state as it is now, counters included.
    Refresh(Reply<()>),
}

/// Where a request's answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What [`Request::Attach`] takes.
pub struct AttachRequest {
    /// What the user asked for.
    pub request: overlay::api::EndpointAttach,
    /// The namespace that it names.
    pub netns: overlay::model::NetnsRef,
    /// The names of the interfaces inside it.
    pub ifnames: BTreeSet<String>,
    /// Fresh randomness.
    pub random: attach::Random,
}

/// What [`Request::Attach`] came to.
pub enum Attached {
    /// It is attached.
    Done(Box<Attachment>),
    /// A manager must grant this first.
    NeedsBlock(GrantBlock),
}

/// The loop's own state.
pub struct EventLoop {
    config: Config,
    store: Store,
    reconciler: Reconciler,
    member: Option<Member>,
    attachments: BTreeMap<EndpointId, Attachment>,
    /// Addresses on their way back to the managers.
    release: attach::Release,
    proposing: JoinSet<()>,
    underlay: Option<Underlay>,
    /// When the next grace period of a drained backend ends.
    grace_end: Option<Instant>,
    shared: watch::Sender<Arc<Shared>>,
}

impl EventLoop {
    /// With what an earlier run stored. Nothing is touched before [`EventLoop::run`].
    pub fn new(
        config: Config,
        store: Store,
        reconciler: Reconciler,
        member: Option<Member>,
        attachments: BTreeMap<EndpointId, Attachment>,
    ) -> (Self, watch::Receiver<Arc<Shared>>) {
        let (shared, receiver) = watch::channel(Arc::default());
        let (release, proposing, underlay, grace_end) = Default::default();
        let this = Self {
            config,
            store,
            reconciler,
            member,
            attachments,
            release,
            proposing,
            underlay,
            grace_end,
            shared,
        };
        // Whoever asks before the first pass is over is told of the membership, too.
        this.publish();
        (this, receiver)
    }

    /// Until the other end of `ended` is dropped. The data path stays.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut kernel: mpsc::Receiver<()>,
        mut ended: oneshot::Receiver<()>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut ended => break,
                Some(request) = requests.recv() => {
                    self.handle(request).await;
                    continue;
                }
                () = changed(self.member.as_mut()) => {}
                Some(()) = kernel.recv() => {}
                () = at(self.grace_end) => {}
                _ = tick.tick() => {
                    self.reconciler.forget();
                    self.release_idle();
                }
            }
            self.reconcile().await;
        }
        if let Some(member) = self.member.take() {
            member.stop(Duration::from_secs(self.config.restart_hold.into())).await;
        }
    }

    async fn handle(&mut self, request: Request) {
        // An answer that nobody waits for any more is no failure: what was asked for stands.
        match request {
            Request::Join(seeds, reply) => drop(reply.send(self.join(seeds).await)),
            Request::BeginAnew(reply) => drop(reply.send(self.begin_anew().await)),
            Request::Leave(reply) => drop(reply.send(self.leave().await)),
            Request::Attach(request, reply) => drop(reply.send(self.attach(*request).await)),
            Request::Detach(id, reply) => drop(reply.send(self.detach(id).await)),
            Request::Refresh(reply) => {
                self.publish();
                drop(reply.send(Ok(())));
            }
        }
    }

    async fn join(&mut self, seeds: Vec<SocketAddr>) -> Result<(), ApiError> {
        if self.member.is_some() {
            return Err(crate::refusal::already_member());
        }
        let observer = self.reconciler.data_path().observer();
        self.member = Member::start(&self.config, &self.store, seeds, observer).await?;
        self.reconcile().await;
        Ok(())
    }

    /// The membership is put into effect again whatever comes of it.
    async fn begin_anew(&mut self) -> Result<(), ApiError> {
        if let Some(member) = self.member.take() {
            member.stop(Duration::ZERO).await;
        }
        let store = self.store.clone();
        let begun = tokio::task::spawn_blocking(move || manager::force_new_cluster(&store)).await;
        self.join(Vec::new()).await?;
        Ok(begun.map_err(crate::refusal::internal)??)
    }

    async fn leave(&mut self) -> Result<(), ApiError> {
        if self.member.is_none() {
            return Err(crate::refusal::not_member());
        }
        self.attachments.clear();
        self.save()?;
        self.reconcile().await;
        if let Some(member) = self.member.take() {
            member.gossip().pushed().await;
            member.stop(Duration::ZERO).await;
        }
        self.proposing.abort_all();
        self.release = attach::Release::default();
        (self.underlay, self.grace_end) = (None, None);
        manager::forget(&self.store)?;
        let nothing = Wanted {
            me: NodeId::from_bytes([0; 16]),
            intent: &Intent::default(),
            view: &View::default(),
            complete: true,
            attachments: &self.attachments,
            underlay: None,
            now: clock::since_epoch(),
        };
        self.reconciler.run(&nothing).await;
        self.publish();
        Ok(())
    }

    async fn attach(&mut self, wish: AttachRequest) -> Result<Attached, ApiError> {
        let Some(member) = &self.member else { return Err(crate::refusal::not_member()) };
        let (intent, snapshot) = (member.intent(), member.snapshot());
        let released = self.release.pending();
        let situation = attach::Situation {
            me: member.node(),
            intent: &intent,
            view: &snapshot.view,
            attachments: &self.attachments,
            ifnames_taken: &wish.ifnames,
            released: &released,
        };
        let attachment = match attach::plan(&wish.request, wish.netns, &situation, wish.random)? {
            attach::Outcome::NeedsBlock(grant) => return Ok(Attached::NeedsBlock(grant)),
            attach::Outcome::Ready(attachment) => attachment,
        };
        let (id, host) = (attachment.endpoint.id, attachment.host_ifname(&self.config.veth_prefix));
        self.attachments.insert(id, attachment.clone());
        self.save()?;
        self.reconcile().await;
        if self.reconciler.veths().contains(&host) {
            return Ok(Attached::Done(Box::new(attachment)));
        }
        let cause = self.reconciler.failures().into_iter().find(|failure| failure.action.contains(&host));
        self.attachments.remove(&id);
        self.save()?;
        self.reconcile().await;
        let cause = cause.map_or_else(|| "the interface did not appear".to_owned(), |failure| failure.cause);
        Err(crate::refusal::attach_failed(&cause))
    }

    async fn detach(&mut self, id: EndpointId) -> Result<Endpoint, ApiError> {
        let Some(attachment) = self.attachments.remove(&id) else {
            return Err(crate::refusal::not_local(id));
        };
        self.save()?;
        self.reconcile().await;
        if let Some(member) = self.member.as_ref().filter(|member| member.reaches_manager()) {
            let intent = member.intent();
            let commands = self.release.detached(member.node(), &intent, &attachment.endpoint);
            self.propose(commands, Duration::ZERO);
            self.propose(attach::forget_drain(&intent, id), FORGET_DRAIN);
        }
        Ok(attachment.endpoint)
    }

    /// Gives back what nobody here has had for a while; a detach without a manager left it.
    fn release_idle(&mut self) {
        if let Some(member) = self.member.as_ref().filter(|member| member.reaches_manager()) {
            let commands = self.release.looked(member.node(), &member.intent(), &self.attachments);
            self.propose(commands, Duration::ZERO);
        }
        while self.proposing.try_join_next().is_some() {}
    }

    /// Has a manager take these, or refuse them, whenever one can after a pause.
    fn propose(&mut self, commands: Vec<Command>, pause: Duration) {
        let Some(member) = &self.member else { return };
        for command in commands {
            let log = member.handle().log;
            self.proposing.spawn(async move {
                tokio::time::sleep(pause).await;
                insist(log, command).await;
            });
        }
    }

    fn save(&self) -> Result<(), ApiError> {
        let attachments: Vec<_> = self.attachments.values().collect();
        Ok(self.store.put(Key::Attachments, &attachments)?)
    }

    /// One pass over everything, then what this node states and shows.
    async fn reconcile(&mut self) {
        if let Some(member) = &self.member {
            self.underlay = match self.reconciler.netlink().underlay(member.addr()).await {
                Ok(underlay) => Some(underlay),
                Err(error) => {
                    warn!(error = format!("{error:#}"), "no underlay");
                    None
                }
            };
            let (intent, snapshot, now) = (member.intent(), member.snapshot(), clock::since_epoch());
            self.release.arrived(member.node(), &intent);
            let wanted = Wanted {
                me: member.node(),
                intent: &intent,
                view: &snapshot.view,
                complete: snapshot.settled,
                attachments: &self.attachments,
                underlay: self.underlay.as_ref(),
                now,
            };
            self.grace_end = intent.next_grace_end(now).and_then(|end| Instant::now().checked_add(end - now));
            if self.reconciler.run(&wanted).await {
                member.applied(intent.version);
            }
            self.withdraw_vanished();
            self.state(&intent);
        }
        self.publish();
    }

    /// Forgets the endpoints whose namespace is gone, and their interface with it.
    fn withdraw_vanished(&mut self) {
        let (prefix, veths) = (&self.config.veth_prefix, self.reconciler.veths());
        let before = self.attachments.len();
        self.attachments.retain(|id, attachment| {
            let there = veths.contains(&attachment.host_ifname(prefix)) || netns::leads_to(&attachment.netns);
            if !there {
                info!(endpoint = %id.short(), name = %attachment.endpoint.name, "its namespace is gone; detached");
            }
            there
        });
        if self.attachments.len() != before
            && let Err(error) = self.save()
        {
            warn!(%error, "cannot store the attachments");
        }
    }

    /// Tells the other nodes what this one knows: itself, and its endpoints in networks that exist.
    fn state(&self, intent: &Intent) {
        let (Some(member), Some(underlay)) = (&self.member, &self.underlay) else { return };
        let endpoints = self.attachments.values().map(|attachment| attachment.endpoint.clone());
        let endpoints =
            endpoints.filter(|endpoint| intent.networks.contains_key(&endpoint.network)).collect();
        member.gossip().state(node_fact(underlay), endpoints);
    }

    fn publish(&self) {
        let drops = self.reconciler.data_path().drops().unwrap_or_default();
        let shared = Shared {
            member: self.member.as_ref().map(Member::handle),
            attachments: self.attachments.clone(),
            local: Local {
                underlay: self.underlay.clone(),
                failures: self.reconciler.failures(),
                mesh: self.reconciler.mesh().clone(),
                drops,
            },
        };
        self.shared.send_replace(Arc::new(shared));
    }
}

/// At that moment; without one, never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// When intent or facts have changed; never without a membership.
async fn changed(member: Option<&mut Member>) {
    match member {
        Some(member) => member.changed().await,
        None => std::future::pending().await,
    }
}
