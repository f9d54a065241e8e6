//! Digests for anti-entropy: who differs is found from 64 hashes, then from versions, before any record travels.

use serde::{Deserialize, Serialize};

use super::record::raw_id;
use crate::model::NodeId;

/// How many buckets owners are spread over, by the low bits of their (random) id.
pub const BUCKETS: usize = 64;

/// How far a holder is with an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The owner.
    #[serde(with = "raw_id")]
    pub owner: NodeId,
    /// The highest generation held.
    pub generation: u64,
    /// The mark in it.
    pub mark: u64,
}

/// The buckets in which two digests differ, as a bit each. All, if one is malformed.
pub fn differing(mine: &[u64], theirs: &[u64]) -> u64 {
    if mine.len() != BUCKETS || theirs.len() != BUCKETS {
        return u64::MAX;
    }
    mine.iter().zip(theirs).enumerate().fold(0, |mask, (bucket, (a, b))| mask | u64::from(a != b) << bucket)
}

pub(super) fn bucket(owner: NodeId) -> usize {
    usize::from(owner.as_bytes()[15]) % BUCKETS
}

/// The hash of each bucket; the versions come sorted by owner.
pub(super) fn buckets(versions: impl Iterator<Item = Version>) -> Vec<u64> {
    let mut hashes = vec![FNV_OFFSET; BUCKETS];
    for version in versions {
        let hash = &mut hashes[bucket(version.owner)];
        let numbers = [version.generation.to_be_bytes(), version.mark.to_be_bytes()];
        *hash = extend(extend(*hash, version.owner.as_bytes()), numbers.as_flattened());
    }
    hashes
}

/// FNV-1a, 64 bits: a hash that every node computes alike, on every platform and in every version. It withstands chance,
/// not malice.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    extend(FNV_OFFSET, bytes)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn extend(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_hash_and_differences() {
        let one = Version { owner: NodeId::from_bytes([1; 16]), generation: 1, mark: 2 };
        let two = Version { mark: 3, ..one };
        let hashes = buckets([one].into_iter());
        assert_eq!(hashes[0], FNV_OFFSET, "an empty bucket");
        assert_eq!(hashes[1], 0x4eb7_92c4_735e_9c3c);
        assert_eq!(differing(&hashes, &buckets([one].into_iter())), 0);
        assert_eq!(differing(&hashes, &buckets([two].into_iter())), 1 << 1);
        assert_eq!(differing(&hashes, &[]), u64::MAX);
    }
}
