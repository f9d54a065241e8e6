//! What the leader of the managers sees to by itself. Each duty is a task of its own that ends with the leadership
//! ([`crate::manager::Role::while_leading`]), and each of its steps a command in the log, or a change of the log's own
//! membership, so that a new leader goes on where the last one stopped.

mod keys;
mod voters;

pub use keys::KeySteward;
pub(super) use voters::keep as keep_voters;
