//! The managers' replicated log: the Raft library (openraft), its storage, its network, and when it runs.
//!
//! What a command does is `overlay::intent::apply` alone; how the managers agree on commands is the library's alone.
//!
//! | module | is |
//! |---|---|
//! | `role` | the library running on this node, or not |
//! | `requests` | commands and reads, wherever they arrive |
//! | `store`, `machine` | the library's storage: the log, and the state that it makes |
//! | `journal`, `snapshot`, `beginning` | how both are on the disk |
//! | `network`, `links`, `routes` | the library's requests, from one manager to another |

mod beginning;
mod journal;
mod links;
mod machine;
mod network;
mod requests;
mod role;
mod routes;
mod snapshot;
mod store;
mod types;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use beginning::stored;
pub(super) use beginning::{begin, end};
pub(super) use requests::Unanswered;
pub(super) use role::Running;
pub use role::{Role, RoleTask, Status};
pub(super) use routes::router;
pub(super) use types::Answer;
use types::{Offload, Types};
