//! What goes over the wire between nodes and managers: HTTP/1.1 in TLS 1.3.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/propose` | postcard `Command` | postcard `Result<`[`Proposed`]`, IntentError>` |
//! | `GET /v1/watch?held=E.V` | | lines of JSON, the first at once: the intent, or what changed since revision E.V |
//! | `POST /v1/join` | postcard [`JoinRequest`] | postcard `Result<`[`JoinAnswer`]`, `[`JoinRefusal`]`>` |
//! | `POST /v1/renew` | postcard [`RenewRequest`] | postcard `String`: the certificate and its CA's, PEM |
//! | `POST /v1/held` | postcard `Vec<(Protocol, PortRange)>` | postcard `Vec<`[`HeldPort`]`>` |
//! | `POST /v1/applied` | postcard [`WhenApplied`] | postcard `u64` |
//! | `POST /v1/traffic` | postcard `()` | postcard `Traffic` |
//! | `POST /v1/read` | postcard `()` | postcard [`Standing`] |
//! | `POST /v1/raft/append`, `vote`, `snapshot` | postcard, the Raft library's | postcard, the Raft library's |
//! | `POST /v1/raft/propose`, `read` | as without `raft` | as without `raft`, from the leader alone |
//!
//! `held`, `applied` and `traffic` are answered by every node, the others by managers alone; what is under `raft` is answered
//! to managers alone, on connections that are kept. Only `/v1/join` is open to who shows no
//! certificate. Any status but 200 comes with the cause as text; [`UNKNOWN_NODE`] answers who shows a certificate and is no
//! member.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyper::StatusCode;
use overlay::intent::{Intent, IntentError, Reply, Revision};
use overlay::model::{Node, NodeId, Protocol};
use serde::{Deserialize, Serialize};

/// Whoever shows a certificate of the cluster, and is not in the intent.
pub(super) const UNKNOWN_NODE: StatusCode = StatusCode::UNAUTHORIZED;

pub(super) const PROPOSE: &str = "/v1/propose";
pub(super) const WATCH: &str = "/v1/watch";
pub(super) const READ: &str = "/v1/read";
pub(super) const RAFT_APPEND: &str = "/v1/raft/append";
pub(super) const RAFT_VOTE: &str = "/v1/raft/vote";
pub(super) const RAFT_SNAPSHOT: &str = "/v1/raft/snapshot";
pub(super) const RAFT_PROPOSE: &str = "/v1/raft/propose";
pub(super) const RAFT_READ: &str = "/v1/raft/read";
pub(super) const JOIN: &str = "/v1/join";
pub(super) const RENEW: &str = "/v1/renew";
pub(super) const HELD: &str = "/v1/held";
pub(super) const APPLIED: &str = "/v1/applied";
pub(super) const TRAFFIC: &str = "/v1/traffic";

/// How often a follower hears from its manager at least.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(5);
/// After how long without a word a follower gives its manager up: three keepalives.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// How long a request may take, from the first byte of its body to the answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest body of a request, in bytes.
pub(super) const MAX_REQUEST: usize = 1 << 20;
/// The largest body of a request of the Raft library, in bytes: a batch of entries and one more, or a piece of a snapshot.
pub(super) const MAX_RAFT: usize = 4 << 20;
/// The largest body of a request to join, in bytes: anybody may send one.
pub(super) const MAX_JOIN: usize = 64 << 10;
/// The largest body of a request for a new certificate, in bytes.
pub(super) const MAX_RENEW: usize = 16 << 10;
/// The largest question of one node to another, in bytes: all ports of a service.
pub(super) const MAX_QUESTION: usize = 4 << 10;
/// The largest intent or other answer that is read, in bytes.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// What the query of a watch says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Held {
    /// The revision that the follower holds, if any.
    pub(super) held: Option<Revision>,
}

/// A command that took effect.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Proposed {
    /// The version of an intent that has it.
    pub(super) version: u64,
    /// What it came to.
    pub(super) reply: Reply,
}

/// How the managers stand, as their leader sees it at one moment of a time in which it surely leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The version of the intent: what was answered before the question has its change in it.
    pub version: u64,
    /// The leader.
    pub leader: NodeId,
    /// How often the managers have elected.
    pub term: u64,
    /// The managers that decide, and whether each answers the leader.
    pub voters: BTreeMap<NodeId, bool>,
    /// Those that are catching up, and decide once they have.
    pub learners: BTreeSet<NodeId>,
}

/// A node asks to become a member.
#[derive(Serialize, Deserialize)]
pub(super) struct JoinRequest {
    /// The token's secret, hexadecimal.
    pub(super) secret: String,
    /// The request to sign, PEM, in the name of `node`.
    pub(super) csr: String,
    /// The node as it describes itself; whether it is a manager is not its to say.
    pub(super) node: Node,
}

/// A member asks for a new certificate, in the role that the intent gives it.
#[derive(Serialize, Deserialize)]
pub(super) struct RenewRequest {
    /// The request to sign, PEM, in the node's name.
    pub(super) csr: String,
}

/// It is one now.
#[derive(Serialize, Deserialize)]
pub(super) struct JoinAnswer {
    /// Its certificate and the CA's, PEM.
    pub(super) chain: String,
    /// The CA's certificate, PEM.
    pub(super) ca: String,
    /// The intent, with the node in it.
    pub(super) intent: Intent,
}

/// Why it is not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum JoinRefusal {
    /// The secret is not the cluster's.
    WrongSecret,
    /// A member has the id: whoever holds a token could otherwise take its place.
    AlreadyMember,
    /// The request to sign is malformed, or not in the node's name.
    BadRequest(String),
    /// The intent does not allow it.
    Refused(IntentError),
}

/// A port that a process holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// The port, the lowest held of those that were asked for.
    pub port: u16,
    /// Who holds it, in a person's words.
    pub holder: String,
}

/// Asks for the version of the intent that a node's kernel holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WhenApplied {
    /// Answer once it is this one,
    pub(super) version: u64,
    /// or after so long.
    pub(super) wait: Duration,
}
