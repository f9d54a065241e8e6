//! The hash behind everything here: SipHash-1-3 with 128 bits under fixed keys. It is the same on every node, machine
//! and release, which the standard library's hashers never promise.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// What is hashed, so that one thing's hash tells nothing of another's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The order in which a backend wants a table's places. All nodes agree on it: it changes only together with all
    /// of them.
    Order,
    /// What a table is made of. It changes with the way in which tables are filled, or an agent would take those of
    /// the release before it for its own.
    Table,
    /// Who is in a slot.
    Backend,
}

impl Purpose {
    const fn key(self) -> u64 {
        u64::from_be_bytes(match self {
            Self::Order => *b"maglev 1",
            Self::Table => *b"table  1",
            Self::Backend => *b"backend1",
        })
    }
}

/// The hash of those bytes one after another.
pub(super) fn hash<'a>(purpose: Purpose, parts: impl IntoIterator<Item = &'a [u8]>) -> (u64, u64) {
    let mut hasher = SipHasher13::new_with_keys(u64::from_be_bytes(*b"overlay "), purpose.key());
    for part in parts {
        hasher.write(part);
    }
    let hash = hasher.finish128();
    (hash.h1, hash.h2)
}
