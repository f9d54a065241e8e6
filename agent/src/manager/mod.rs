//! Where intent lives: the log that commands go into, the server that lets other nodes at it, and the client
//! that follows it.
//!
//! The rest of the agent sees [`IntentLog`] alone, which every node has alike: a [`Follower`] of one of the managers. Where
//! intent has the node as a manager, its [`Role`] runs besides: the replicated log (`raft`). A [`Server`] runs on every node:
//! it answers other nodes' questions ([`Peers`]), and serves intent on a manager. No code here decides what a command does:
//! that is `overlay::intent::apply`.

mod admission;
mod anew;
mod client;
mod copy;
mod error;
mod exclusion;
mod follower;
mod init;
mod insist;
mod join;
mod peers;
mod permissions;
mod raft;
mod renewal;
mod routes;
mod server;
mod steward;
#[cfg(test)]
mod tests;
mod unanswered;
mod watching;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use overlay::intent::{Command, Intent, Reply};
use tokio::sync::watch;

pub use anew::{BackupError, backup, force_new_cluster, restore};
pub use copy::stored_intent;
pub use error::{JoinError, ManagerError, ProposeError};
pub use exclusion::Exclusion;
pub use follower::Follower;
pub use init::{Founded, forget, init_cluster};
pub use insist::insist;
pub use join::{Joined, join};
pub use peers::{Here, HolderOf, LONGEST_WAIT, Peers, held_here, when_applied};
pub use raft::{Role, RoleTask, Status, Unanswered};
pub use renewal::Renewal;
pub use server::Server;
pub use steward::{CaSteward, KeySteward};
pub use wire::{HeldPort, Standing};

/// The cluster's intent, as this node sees it, and the way to change it.
pub trait IntentLog: Send + Sync {
    /// Asks for a change. Once it is answered, the change is on a manager's disk, and [`IntentLog::watch`]
    /// shows it here too unless the connection to the managers broke in between. Dropping the future does
    /// not take the command back.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>>;

    /// The intent now, and each later one; who looks seldom misses those in between. Before the node is a
    /// member, it is the empty one.
    fn watch(&self) -> watch::Receiver<Arc<Intent>>;

    /// How the managers stand, as their leader sees it now. Once it is answered, [`IntentLog::watch`] shows every change
    /// that anybody was answered before, unless the connection to the managers broke in between.
    fn read(&self) -> BoxFuture<'_, Result<Standing, ProposeError>>;

    /// How this node stands to the manager that it follows.
    fn status(&self) -> watch::Receiver<ManagerLink>;
}

/// How a node stands to the manager that it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerLink {
    /// The manager's address: of the last one tried.
    pub addr: SocketAddr,
    /// Whether it is reached now.
    pub reachable: bool,
    /// Why managers do not let this node in, once they said so; stays until one does.
    pub excluded: Option<Exclusion>,
    /// Why it was not, or why its intent could not be kept; stays until things go well again.
    pub last_error: Option<String>,
}
