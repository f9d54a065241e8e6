//! What the leader does of its own accord. Each duty is a task of its own that ends with the leadership, and each of its
//! steps a command in the log, so that a new leader goes on where the last one stopped.

mod keys;

pub use keys::KeySteward;
