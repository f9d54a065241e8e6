//! The only place that touches the kernel.

pub mod bpf;
pub mod netlink;
pub mod netns;
pub mod ports;
pub mod preflight;

#[cfg(test)]
mod testing;

/// Something of the machine that is in the way, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; hint: {hint}")]
pub struct Problem {
    /// The cause, in one line.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}
