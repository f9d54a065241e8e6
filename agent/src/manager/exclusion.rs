//! Why a node is kept out of its own cluster, in words for the person at the node. It is told and nothing more: the node goes on
//! with what it has, for one manager may be wrong.

use std::fmt;

/// Why a manager does not let this node in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusion {
    /// It was removed; that is for ever.
    Removed,
    /// The manager does not know it.
    Unknown,
    /// Its certificate has ended.
    Ended,
}

impl Exclusion {
    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Removed | Self::Unknown => {
                "take it out with `overlayctl cluster leave --force`; it may join again then, as a new node"
            }
            Self::Ended => {
                "see that its clock is right; if it is, take it out with `overlayctl cluster leave --force`, and let it join \
                 again"
            }
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "this node was removed from the cluster",
            Self::Unknown => {
                "the managers do not know this node (any more): it may have joined after the backup that they were restored \
                 from"
            }
            Self::Ended => "this node's certificate ended before it could be renewed",
        })
    }
}

/// What managers said of late.
#[derive(Debug, Default)]
pub(super) struct Said(Option<Exclusion>);

impl Said {
    /// What is to be believed once one has said this: that the node was removed, or what was said before. One that is behind
    /// the others may not know of a node that has just joined.
    pub(super) fn heard(&mut self, excluded: Exclusion) -> Option<Exclusion> {
        let before = self.0.replace(excluded);
        (excluded == Exclusion::Removed || before == Some(excluded)).then_some(excluded)
    }

    /// One let this node in.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_of_one_manager_is_not_enough() {
        let mut said = Said::default();
        assert_eq!(said.heard(Exclusion::Unknown), None);
        said.forget();
        assert_eq!(said.heard(Exclusion::Unknown), None);
        assert_eq!(said.heard(Exclusion::Unknown), Some(Exclusion::Unknown));
        assert_eq!(said.heard(Exclusion::Ended), None);
        assert_eq!(said.heard(Exclusion::Removed), Some(Exclusion::Removed));
    }
}
