//! What the journal holds besides the log.

/// What a single value is kept under.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Value {
    /// The version of the file's format.
    Format,
    /// The last vote.
    Vote,
    /// How far the log is known to be committed.
    Committed,
    /// The last entry that was taken off the log's start.
    Purged,
    /// The last snapshot.
    Snapshot,
}

impl Value {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Purged => "purged",
            Self::Snapshot => "snapshot",
        }
    }
}
