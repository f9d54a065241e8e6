//! What anybody may cost this node who reaches one of its ports: a bounded number of connections, of lines in the log, and of
//! guesses. It decides nothing about who is let in.

pub(crate) mod places;
pub(crate) mod refusals;
