//! What each node alone knows, its encoding and its merge rule. How facts travel is the agent's gossip.
//!
//! Nothing here sees a clock or a socket: time comes in as an argument, deltas go in and out as values.
//!
//! # The algorithm
//!
//! A record has one **owner**, and only the owner changes it. Within one boot (a **generation**) the owner numbers
//! its changes 1, 2, 3…; a record carries the number of its last change, its **version**. A deletion is a change
//! too: a record without a body, a **tombstone**. The number of the last change is the **head**.
//!
//! A [`Delta`] with the range `(from, to]` says: *here is every record whose last version is in that range*, and how far
//! the head is known to be. A holder covers the union of the ranges it was given; its **mark** is the end of the
//! covered range that starts at 0. Below the head it may have a **gap**, which has a name and can be asked for
//! ([`Pull`]). Records from beyond a gap are kept and shown, for they are newer than what they replace.
//!
//! Merging within a generation:
//!
//! 1. The higher version of a key wins.
//! 2. A holder without a gap drops the tombstones that it learned of an hour ago; **floor** is the highest version so
//!    dropped. Records up to its own floor are ignored: it knew them, or what superseded them.
//! 3. Whoever lags behind a floor gets the *whole* state (`from` = 0, `floor` set), drops every record that is older
//!    than that floor and not in it, and takes over the floor.
//!
//! Between generations: the higher wins, key by key, and the lower one stays visible where the higher one says nothing
//! yet. When the mark reaches the head, the higher generation is whole, and the lower ones go.
//!
//! # Invariants
//!
//! - *Convergence*: holders that were given the same deltas of a generation, in whatever order and however often,
//!   show the same; one exchange of digests and deltas brings both to the higher mark.
//! - *No flap*: a key that is in an owner's old and new generation is shown at every moment between. Proof: say the mark
//!   reached the head, and a delta covered the key's version but lacked the key. Then it was made after the key
//!   changed to a later version, which its `head` includes and the mark therefore covers too; and so on up to
//!   the last one.
//! - *No resurrection*: a key whose last change deleted it is not shown by anyone whose mark passed that change.
//!   While the tombstone is held rule 1 sees to it, afterwards the floor does.
//! - *No ghosts*: once a generation is whole, nothing of an older one is shown or accepted.
//! - *A floor is a fact*: whoever has a floor holds every live key up to it, so what a whole state lacks below
//!   its floor is deleted.

mod absence;
mod digest;
mod endpoint;
mod generation;
mod node;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod view;

pub use digest::{BUCKETS, Version, differing, fnv1a};
pub use node::NodeFact;
pub use record::{Delta, Key, Pull, Record};
pub use store::{KEEP, Outcome, Store};
pub use view::{Part, View};

/// A body that one of this module's own types can't fail to encode into.
fn encode(body: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(body).expect("plain data with known lengths always encodes")
}

/// The value at the start of a body. What follows is left to later versions, which may append fields.
fn decode<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(body).ok().map(|(value, _rest)| value)
}
