//! The cluster's gossip keys: one seals, all open. So a new key can be handed round before anybody seals with it, and an
//! old one stays for as long as somebody may. Which there are, and when they change, is the managers' to decide.

use std::collections::BTreeMap;
use std::fmt;

use overlay::hex;
use overlay::intent::GossipKeys;

/// At least one key, each under a number that goes with every datagram.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    current: u8,
    keys: BTreeMap<u8, [u8; 32]>,
}

impl Keys {
    /// Keys by their numbers, of which `current` seals; `None` if it is not one of them.
    pub fn new(current: u8, keys: BTreeMap<u8, [u8; 32]>) -> Option<Self> {
        keys.contains_key(&current).then_some(Self { current, keys })
    }

    /// One key, which seals and opens.
    pub fn one(number: u8, key: [u8; 32]) -> Self {
        Self { current: number, keys: BTreeMap::from([(number, key)]) }
    }

    /// The keys in an intent; `None` if one is malformed, or if there is none to seal with.
    pub fn of(intent: &GossipKeys) -> Option<Self> {
        let keys = intent.keys.iter().map(|(number, key)| Some((*number, hex::decode(key)?)));
        Self::new(intent.current, keys.collect::<Option<_>>()?)
    }

    /// The number of the key that seals.
    pub(super) const fn current(&self) -> u8 {
        self.current
    }

    /// The key that seals.
    pub(super) fn sealing(&self) -> &[u8; 32] {
        &self.keys[&self.current]
    }

    /// The key of that number.
    pub(super) fn get(&self, number: u8) -> Option<&[u8; 32]> {
        self.keys.get(&number)
    }
}

/// The numbers alone: keys are in no log.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("current", &self.current)
            .field("numbers", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_seals_is_one_of_them() {
        assert_eq!(Keys::new(2, BTreeMap::from([(1, [1; 32])])), None);
        let keys = Keys::new(2, BTreeMap::from([(1, [1; 32]), (2, [2; 32])])).unwrap();
        assert_eq!((keys.sealing(), keys.get(1), keys.get(3)), (&[2; 32], Some(&[1; 32]), None));
    }

    #[test]
    fn all_of_an_intents_keys_are_taken_or_none() {
        let (good, bad) = ("01".repeat(32), "01".repeat(31));
        let intent = |current, keys: &[(u8, &String)]| GossipKeys {
            current,
            keys: keys.iter().map(|(number, key)| (*number, (*key).clone())).collect(),
            ..GossipKeys::default()
        };
        let keys = Keys::new(4, BTreeMap::from([(3, [1; 32]), (4, [1; 32])]));
        assert_eq!(Keys::of(&intent(4, &[(3, &good), (4, &good)])), keys);
        assert_eq!(Keys::of(&intent(4, &[(3, &bad), (4, &good)])), None);
        assert_eq!(Keys::of(&intent(4, &[(3, &good)])), None);
    }

    #[test]
    fn no_key_is_ever_printed() {
        assert_eq!(format!("{:?}", Keys::one(5, [77; 32])), "Keys { current: 5, numbers: [5], .. }");
    }
}
