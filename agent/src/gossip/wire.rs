//! What a datagram says, once opened.

use overlay::facts::Pull;
use serde::{Deserialize, Serialize};

use super::seal::MAX_PAYLOAD;
use super::vouch::Push;

/// The largest SWIM packet, in bytes: a payload less its tag and length.
pub(super) const MAX_SWIM: usize = MAX_PAYLOAD - 3;
/// The largest encoded delta that fits a datagram, in bytes.
pub(super) const MAX_DELTA: usize = MAX_PAYLOAD - 1 - Push::OVERHEAD;

/// A datagram's payload, in postcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Payload<'a> {
    /// The gossip library's.
    Swim(&'a [u8]),
    /// What its sender changed.
    Push(Push),
    /// What its sender lacks of the receiver's.
    Pull(Pull),
}

impl<'a> Payload<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data with known lengths always encodes")
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use overlay::facts::Delta;
    use overlay::model::NodeId;

    use super::*;
    use crate::gossip::vouch::Signer;

    #[test]
    fn pinned_bytes() {
        assert_eq!(Payload::Swim(&[5, 6]).encode(), [0, 2, 5, 6]);
        let owner = NodeId::from_bytes([9; 16]);
        let pull = Payload::Pull(Pull { owner, generation: 1, from: 2, to: 3 });
        assert_eq!(pull.encode(), [&[2][..], &[9; 16], &[1, 2, 3]].concat());
        assert_eq!(Payload::decode(&pull.encode()), Some(pull));
        let delta = Delta { owner, generation: 1, head: 4, floor: 0, from: 3, to: 3, records: vec![] };
        let push = Payload::Push(Push::new(delta, [5; 32], &Signer::new(&[1; 32]))).encode();
        assert_eq!(push[..55], [&[1][..], &[9; 16], &[1, 4, 0, 3, 3, 0], &[5; 32]].concat());
        assert_eq!(push.len(), 55 + 64, "the signature");
        assert_eq!(Payload::decode(&[7]), None);
        assert!(Payload::Swim(&[0; MAX_SWIM]).encode().len() <= MAX_PAYLOAD);
    }
}
