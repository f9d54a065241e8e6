//! A snapshot as bytes: on the disk, and on the way to a manager that is far behind.
//!
//! A byte of format version, SHA-256 of what follows, and that: postcard of [`Contents`].

use openraft::{LogId, NodeId, SnapshotMeta, StoredMembership};
use overlay::hex;
use overlay::intent::State;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;

/// The state, and what of the log it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Contents<N: NodeId> {
    /// The last entry that was applied.
    pub(super) last_log_id: Option<LogId<N>>,
    /// The last membership among the entries.
    pub(super) membership: StoredMembership<N, openraft::EmptyNode>,
    /// What the entries came to.
    pub(super) state: State,
}

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SnapshotError {
    /// Not as long as any snapshot.
    #[error("the snapshot ends early")]
    Short,
    /// Of another version.
    #[error("the snapshot has format {0}, and this version of overlayd reads format {FORMAT}")]
    Format(u8),
    /// Some byte is not what was written.
    #[error("the snapshot's checksum is wrong")]
    Checksum,
    /// The checksum is right, so it was written so.
    #[error("the snapshot makes no sense: {0}")]
    Contents(postcard::Error),
}

impl<N: NodeId> Contents<N> {
    /// What the library calls this snapshot: the same contents have the same name.
    pub(super) fn meta(&self, bytes: &[u8]) -> SnapshotMeta<N, openraft::EmptyNode> {
        let checksum = bytes.get(1..9).unwrap_or_default();
        SnapshotMeta {
            last_log_id: self.last_log_id.clone(),
            last_membership: self.membership.clone(),
            snapshot_id: hex::encode(checksum),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let contents = postcard::to_stdvec(self).map_err(SnapshotError::Contents)?;
        let mut bytes = Vec::with_capacity(1 + SHA256_OUTPUT_LEN + contents.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(digest(&SHA256, &contents).as_ref());
        bytes.extend_from_slice(&contents);
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (format, rest) = bytes.split_first().ok_or(SnapshotError::Short)?;
        if *format != FORMAT {
            return Err(SnapshotError::Format(*format));
        }
        let (checksum, contents) = rest.split_at_checked(SHA256_OUTPUT_LEN).ok_or(SnapshotError::Short)?;
        if digest(&SHA256, contents).as_ref() != checksum {
            return Err(SnapshotError::Checksum);
        }
        postcard::from_bytes(contents).map_err(SnapshotError::Contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents<u64> {
        Contents {
            last_log_id: Some(LogId::new(openraft::CommittedLeaderId::new(3, 1), 7)),
            membership: StoredMembership::default(),
            state: State::default(),
        }
    }

    #[test]
    fn bytes_and_back() {
        let bytes = contents().encode().unwrap();
        assert_eq!(Contents::decode(&bytes), Ok(contents()));
    }

    #[test]
    fn any_changed_byte_is_found() {
        let bytes = contents().encode().unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Contents::<u64>::decode(&changed).is_err(), "byte {at}");
            assert!(Contents::<u64>::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
        let newer = [&[FORMAT + 1], &bytes[1..]].concat();
        assert_eq!(Contents::<u64>::decode(&newer), Err(SnapshotError::Format(FORMAT + 1)));
    }
}
