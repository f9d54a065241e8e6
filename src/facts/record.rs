//! Records and what is said of them between nodes. On the wire they are postcard: integers as varints, ids raw.

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

/// What a record is about: its type, and which of that type. Types this version does not know are carried too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The record type.
    pub kind: u8,
    /// The id within the type; zeros where there is only one.
    pub id: [u8; 16],
}

/// A record as its owner last changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is about.
    pub key: Key,
    /// The number of its last change.
    pub version: u64,
    /// The fact's encoding, opaque here, or nothing: a tombstone.
    pub body: Option<Vec<u8>>,
}

impl Record {
    /// An upper bound of its encoded size in bytes.
    pub(super) fn size_bound(&self) -> usize {
        // Kind, id, version's varint, option's tag, length's varint.
        1 + 16 + 10 + 1 + 3 + self.body.as_ref().map_or(0, Vec::len)
    }
}

/// Every record of one owner and generation whose last version is in `(from, to]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Whose records.
    #[serde(with = "raw_id")]
    pub owner: NodeId,
    /// The owner's boot.
    pub generation: u64,
    /// The owner's last change that the sender knows of, perhaps beyond `to`.
    pub head: u64,
    /// Zero, or: tombstones up to this version are missing, and then this is the whole state (`from` is 0).
    pub floor: u64,
    /// The range's exclusive start.
    pub from: u64,
    /// The range's inclusive end. With `from` equal, it only says how far the owner is.
    pub to: u64,
    /// The records; in a whole state also those known from beyond `to`.
    pub records: Vec<Record>,
}

impl Delta {
    /// An upper bound of the encoded size of all but the records, in bytes.
    pub(super) const SIZE_BOUND: usize = 16 + 5 * 10 + 3;

    /// Whether it is consistent in itself; what is not was made by no correct owner or holder.
    pub(super) fn is_sound(&self) -> bool {
        self.from <= self.to
            && self.to <= self.head
            && (self.floor == 0 || self.from == 0)
            && self.floor <= self.to
            && self.records.iter().all(|record| record.version > self.from && record.version <= self.head)
            && (self.floor > 0 || self.records.iter().all(|record| record.version <= self.to))
    }
}

/// Asks an owner for its records whose last version is in `(from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Whose records.
    #[serde(with = "raw_id")]
    pub owner: NodeId,
    /// The owner's boot.
    pub generation: u64,
    /// The gap's exclusive start: the asker's mark.
    pub from: u64,
    /// The gap's inclusive end.
    pub to: u64,
}

/// A node id as its 16 bytes, where the model would write text.
pub(super) mod raw_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::NodeId;

    pub(in crate::facts) fn serialize<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(serializer)
    }

    pub(in crate::facts) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NodeId, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(NodeId::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_bytes() {
        let delta = Delta {
            owner: NodeId::from_bytes([0xaa; 16]),
            generation: 300,
            head: 4,
            floor: 0,
            from: 1,
            to: 3,
            records: vec![
                Record { key: Key { kind: 2, id: [0xbb; 16] }, version: 2, body: Some(vec![1, 2, 3]) },
                Record { key: Key { kind: 9, id: [0xcc; 16] }, version: 3, body: None },
            ],
        };
        let bytes = [
            &[0xaa; 16][..],
            &[0xac, 0x02, 4, 0, 1, 3], // generation, head, floor, from, to
            &[2],                      // records
            &[2],
            &[0xbb; 16],
            &[2, 1, 3, 1, 2, 3],
            &[9],
            &[0xcc; 16],
            &[3, 0],
        ]
        .concat();
        assert_eq!(postcard::to_stdvec(&delta).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<Delta>(&bytes).unwrap(), delta);

        let pull = Pull { owner: delta.owner, generation: 1, from: 2, to: 3 };
        assert_eq!(postcard::to_stdvec(&pull).unwrap(), [&[0xaa; 16][..], &[1, 2, 3]].concat());
    }

    #[test]
    fn sizes_are_bounds() {
        let record =
            Record { key: Key { kind: 255, id: [255; 16] }, version: u64::MAX, body: Some(vec![0; 20_000]) };
        assert!(postcard::to_stdvec(&record).unwrap().len() <= record.size_bound());
        let delta = Delta {
            owner: NodeId::from_bytes([255; 16]),
            generation: u64::MAX,
            head: u64::MAX,
            floor: u64::MAX,
            from: u64::MAX,
            to: u64::MAX,
            records: vec![],
        };
        assert!(postcard::to_stdvec(&delta).unwrap().len() + 2 <= Delta::SIZE_BOUND);
    }
}
