//! The cluster: making one, joining one, leaving it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use overlay::api::{
    ApiError, ClusterInit, ClusterInitialized, ClusterJoin, ClusterJoined, ClusterLeave, ClusterLeft,
    ClusterRestore, ErrorCode,
};
use overlay::intent::{Cluster, Command};
use overlay::model::{Node, NodeId, Role};

use super::{Answer, Body, Context, Json, managers, parse};
use crate::eventloop::Request;
use crate::gossip::Signer;
use crate::identity::TokenError;
use crate::kernel::netlink::Netlink;
use crate::manager::{self, Exclusion, Founded, ManagerError, ProposeError};
use crate::refusal::{already_member, internal};
use crate::state::MemberHandle;
use crate::store::Store;

/// How long a node that just joined may take to be known as alive by gossip.
const SETTLES: Duration = Duration::from_secs(2);

/// How long the role of the only manager that is left may take to begin.
const BEGINS: Duration = Duration::from_secs(10);

pub(super) async fn init(State(context): State<Context>, body: Body) -> Answer<ClusterInitialized> {
    let wish: ClusterInit = parse(&body)?;
    if wish.force_new_cluster {
        return force_new_cluster(&context).await;
    }
    let lifetime = wish.cert_lifetime.unwrap_or(Cluster::CERT_LIFETIME);
    let found = move |store: &Store, node| manager::init_cluster(store, node, lifetime);
    begin(&context, wish.advertise_addr, found).await
}

pub(super) async fn restore(State(context): State<Context>, body: Body) -> Answer<ClusterInitialized> {
    let ClusterRestore { backup, advertise_addr } = parse(&body)?;
    begin(&context, advertise_addr, move |store, node| manager::restore(store, &backup, node)).await
}

/// Makes this node the only manager of a cluster that `found` stores.
async fn begin(
    context: &Context,
    advertise_addr: Option<IpAddr>,
    found: impl FnOnce(&Store, Node) -> Result<Founded, ManagerError> + Send + 'static,
) -> Answer<ClusterInitialized> {
    if context.member().is_ok() {
        return Err(already_member().into());
    }
    let addr = advertised(context, advertise_addr, None).await?;
    let node = describe(context, NodeId::from_bytes(rand::random()), addr, true).await?;
    let id = node.id;
    let store = context.store.clone();
    let founded = tokio::task::spawn_blocking(move || found(&store, node)).await;
    let token = founded.map_err(internal)??.token.to_string();
    in_effect(context, Vec::new()).await?;
    let manager = SocketAddr::new(addr, context.config.api_port);
    Ok(Json(ClusterInitialized { node: id, join_token: token, manager }))
}

async fn force_new_cluster(context: &Context) -> Answer<ClusterInitialized> {
    let member = context.member()?;
    if !member.intent().is_manager(member.node) {
        let error = ApiError::new(ErrorCode::Conflict, "this node is no manager of its cluster");
        return Err(error
            .hint("run it on a manager that is left; if none is, `overlayctl cluster restore` takes a backup")
            .into());
    }
    context.ask(Request::BeginAnew).await?;
    let member = context.member()?;
    // The role begins a moment after the membership; what keeps it from that is told below.
    let mut role = member.role.status();
    let begun = role.wait_for(|role| role.running || role.last_error.is_some());
    drop(tokio::time::timeout(BEGINS, begun).await);
    let token = managers::token(context, &member, Role::Worker).await?;
    Ok(Json(ClusterInitialized { node: member.node, join_token: token.token, manager: token.manager }))
}

pub(super) async fn join(State(context): State<Context>, body: Body) -> Answer<ClusterJoined> {
    let wish: ClusterJoin = parse(&body)?;
    if context.member().is_ok() {
        return Err(already_member().into());
    }
    let token = wish.token.parse().map_err(|error: TokenError| {
        ApiError::new(ErrorCode::Invalid, error.to_string()).hint(error.hint())
    })?;
    let addr = advertised(&context, wish.advertise_addr, Some(wish.manager.ip())).await?;
    let node = describe(&context, NodeId::from_bytes(rand::random()), addr, false).await?;
    let id = node.id;
    let joined = manager::join(&token, wish.manager, node).await?;
    let store = context.store.clone();
    tokio::task::spawn_blocking(move || joined.save(&store)).await.map_err(internal)??;
    in_effect(&context, vec![wish.manager]).await?;
    // So that a script may go on at once; `status --wait` is what tells surely.
    let mut facts = context.member()?.facts;
    drop(tokio::time::timeout(SETTLES, facts.wait_for(|snapshot| snapshot.synced)).await);
    let manager = context.member()?.intent().is_manager(id);
    Ok(Json(ClusterJoined { node: id, role: if manager { Role::Manager } else { Role::Worker } }))
}

pub(super) async fn leave(State(context): State<Context>, body: Body) -> Answer<ClusterLeft> {
    let ClusterLeave { force } = parse(&body)?;
    let member = context.member()?;
    let node = member.node;
    if !force {
        refuse_to_leave(&context, &member)?;
    }
    let outcome = resign(&member).await;
    if !force {
        outcome.clone()?;
    }
    context.ask(Request::Leave).await?;
    Ok(Json(ClusterLeft { node, still_listed: outcome.err().map(|error| error.to_string()) }))
}

/// What a node has that is on its way out would be lost.
fn refuse_to_leave(context: &Context, member: &MemberHandle) -> Result<(), ApiError> {
    let conflict = |text: String, hint: &str| Err(ApiError::new(ErrorCode::Conflict, text).hint(hint));
    if member.intent().is_manager(member.node) {
        return conflict(
            "this node is a manager".to_owned(),
            "demote it first with `overlayctl node demote`, or use --force",
        );
    }
    match context.shared().attachments.len() {
        0 => Ok(()),
        count => conflict(
            format!("this node has {count} endpoints"),
            "detach them first with `overlayctl endpoint detach $(overlayctl endpoint ls --local -q)`, or use --force",
        ),
    }
}

/// Has the managers remove this node. The last manager has nobody to tell.
async fn resign(member: &MemberHandle) -> Result<(), ProposeError> {
    let (id, intent) = (member.node, member.intent());
    if intent.managers().all(|node| node.id == id) {
        return Ok(());
    }
    let remove = async || match member.log.propose(Command::RemoveNode { id, force: true }).await {
        Ok(_) | Err(ProposeError::Excluded(Exclusion::Removed | Exclusion::Unknown)) => Ok(()),
        Err(error) => Err(error),
    };
    // A manager that removes the node breaks the connection, and may do so before the answer has come. Who asks again is told
    // that it is done.
    match remove().await {
        Err(error) => remove().await.map_err(|_| error),
        done => done,
    }
}

/// Puts the stored membership into effect, or forgets it.
async fn in_effect(context: &Context, seeds: Vec<SocketAddr>) -> Result<(), ApiError> {
    let Err(error) = context.ask(|reply| Request::Join(seeds, reply)).await else { return Ok(()) };
    let store = context.store.clone();
    tokio::task::spawn_blocking(move || manager::forget(&store)).await.map_err(internal)??;
    Err(error)
}

/// The address to advertise: the one asked for, the configured one, or where packets to `peer` leave from.
async fn advertised(
    context: &Context,
    asked: Option<IpAddr>,
    peer: Option<IpAddr>,
) -> Result<IpAddr, ApiError> {
    let netlink = Netlink::open().map_err(internal)?;
    let addr = match asked.or(context.config.advertise_addr) {
        Some(addr) => addr,
        None => netlink.source_towards(peer).await.map_err(|error| {
            ApiError::new(ErrorCode::Invalid, format!("no address to advertise: {error:#}"))
                .hint("name one with --advertise-addr: an address of this node that the other nodes reach")
        })?,
    };
    netlink.underlay(addr).await.map_err(|error| {
        ApiError::new(ErrorCode::Invalid, format!("{addr} cannot be advertised: {error:#}"))
            .hint("--advertise-addr takes an address of an interface of this node; see `ip address`")
    })?;
    Ok(addr)
}

async fn describe(context: &Context, id: NodeId, addr: IpAddr, manager: bool) -> Result<Node, ApiError> {
    let key = Signer::of(&context.store)?.key();
    crate::describe::node(&context.config, id, addr, manager, &key).await.map_err(internal)
}
