//! What each node alone knows, its encoding and its merge rule. How facts travel is the agent's gossip.
//!
//! Nothing here sees a clock or a socket: time comes in as an argument, deltas go in and out as values.
//!
//! # The algorithm
//!
//! A record has one **owner**, and only the owner changes it. Within one boot (a **generation**) the owner numbers
//! its changes 1, 2, 3…; a record carries the number of its last change, its **version**. A deletion is a change
//! too: a record without a body, a **tombstone**.
//!
//! A [`Delta`] with the range `(from, to]` says: *here is every record whose last version is in that range*.
//! A holder covers the union of the ranges it was given; its **mark** is the end of the covered range that
//! starts at 0. A number missing below one that is known to exist is a **gap**, which has a name and can be asked for
//! ([`Pull`]). Records from beyond a gap are kept and shown, for they are newer than what they replace.
//!
//! Merging within a generation:
//!
//! 1. A record with a version up to the mark is ignored: it, or what superseded it, was seen.
//! 2. Otherwise the higher version of a key wins.
//! 3. Tombstones are dropped an hour after their holder learned of them; **floor** is the highest version so dropped.
//!    Whoever lags behind a floor gets the *whole* state (`from` = 0, `floor` set) and drops every record that
//!    is older than the floor and not in it.
//!
//! Between generations: the higher wins, key by key, and the lower one stays visible where the higher one says
//! nothing yet. When the mark reaches **base**, the boot's statement is whole and the lower generations go. The
//! owner sets `base` to the number of records it first stated, and raises it when it changes one of those.
//!
//! # Invariants
//!
//! - *Convergence*: holders that were given the same deltas of a generation, in whatever order and however often,
//!   hold the same records; one exchange of digests and deltas makes two holders equal.
//! - *No resurrection*: a key deleted at version `v` is never shown again from a version below `v`, also after its
//!   tombstone was dropped. Rule 1 holds it for those whose mark passed `v`, rule 3 for the others.
//! - *No flap*: a key in both an owner's old and new generation is in the view at every moment between. Proof: a
//!   delta that covers the version a boot record had, but lacks it, was made after the record changed to a
//!   version `w`; `base` was then at least `w`, so the mark can't reach `base` before `w` is covered as well.
//! - *No ghosts*: once the mark reached `base`, nothing of an older generation is shown or accepted.

mod digest;
mod endpoint;
mod generation;
mod node;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use digest::{BUCKETS, Version, differing};
pub use node::NodeFact;
pub use record::{Delta, Key, Pull, Record};
pub use store::{KEEP, Outcome, Store};

use crate::model::{Endpoint, EndpointId, NodeId};

/// The facts of the nodes that are alive, decoded: what the rest of the agent sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By node.
    pub nodes: BTreeMap<NodeId, NodeFact>,
    /// By owner and endpoint.
    pub endpoints: BTreeMap<(NodeId, EndpointId), Endpoint>,
}

impl View {
    /// Adds one record; a type that this version does not know, or a body that does not decode, is skipped.
    fn show(&mut self, owner: NodeId, key: &Key, body: &[u8]) {
        match key.kind {
            node::KIND => {
                if let Some(fact) = node::decode(body) {
                    self.nodes.insert(owner, fact);
                }
            }
            endpoint::KIND => {
                if let Some(endpoint) = endpoint::decode(key, body) {
                    self.endpoints.insert((owner, endpoint.id), endpoint);
                }
            }
            _ => {}
        }
    }
}

/// A body that one of this module's own types can't fail to encode into.
fn encode(body: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(body).expect("plain data with known lengths always encodes")
}

/// The value at the start of a body. What follows is left to later versions, which may append fields.
fn decode<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(body).ok().map(|(value, _rest)| value)
}
