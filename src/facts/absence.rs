//! Record type 3: a node's word, given as its agent stops, that it will be back. Its data path goes on meanwhile, so the
//! other nodes keep what it stated. There is one a node, and none in what the next boot states.

use std::time::Duration;

use super::Key;

pub(super) const KIND: u8 = 3;
pub(super) const KEY: Key = Key { kind: KIND, id: [0; 16] };

/// In whole seconds.
pub(super) fn encode(hold: Duration) -> Vec<u8> {
    super::encode(&hold.as_secs())
}

pub(super) fn decode(body: &[u8]) -> Option<Duration> {
    super::decode(body).map(Duration::from_secs).filter(|hold| *hold <= MAX_HOLD)
}

/// What the setting allows; whoever states more is not believed.
const MAX_HOLD: Duration = Duration::from_secs(u16::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_bytes() {
        let hold = Duration::from_secs(120);
        assert_eq!(encode(hold), [120]);
        assert_eq!(decode(&[120]), Some(hold));
        assert_eq!(decode(&[120, 9]), Some(hold), "a later version's field is skipped");
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&encode(MAX_HOLD)), Some(MAX_HOLD));
        assert_eq!(decode(&encode(Duration::MAX)), None, "no node holds another's facts for ever");
    }
}
