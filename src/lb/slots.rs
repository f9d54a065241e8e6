//! Slots: the places of services and backends in the data path's arrays, which number them from 1.
//!
//! Tables name backends, and flows remember them, by slot. So what a slot holds is never exchanged for something else
//! in one plan: a slot that was taken before is given to nobody new, and is free for the next plan once it was emptied.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use super::hash::{Purpose, hash};
use crate::model::{EndpointId, ServiceId};

/// A place in an array that starts at 1.
pub trait Slot: Copy + Ord {
    /// The highest, which is also how many there are.
    const MAX: u32;

    /// From its number; `None` for 0 and beyond [`Slot::MAX`].
    fn new(number: u32) -> Option<Self>;

    /// Its number.
    fn get(self) -> u32;
}

macro_rules! slot {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU32);

        impl Slot for $name {
            const MAX: u32 = $max;

            fn new(number: u32) -> Option<Self> {
                NonZeroU32::new(number).filter(|number| number.get() <= Self::MAX).map(Self)
            }

            fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

slot!(
    /// The place of a service.
    ServiceSlot,
    16_383
);
slot!(
    /// The place of a backend.
    BackendSlot,
    65_535
);

/// Tells the backends that one slot holds one after another apart, so that a flow of one that is gone is never taken
/// for another's. It is a digest of service and endpoint, and so the same again for a backend that returns, whose
/// flows then go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU32);

impl Generation {
    /// Of a backend.
    pub fn of(service: ServiceId, endpoint: EndpointId) -> Self {
        let (digest, _) = hash(Purpose::Backend, [service.as_bytes().as_slice(), endpoint.as_bytes()]);
        Self(NonZeroU32::new(digest as u32).unwrap_or(NonZeroU32::MIN))
    }

    /// As the data path has it; `None` for 0, which is nobody's.
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// As the data path has it; never 0.
    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

/// Who is in which slot.
#[derive(Debug, Clone)]
pub struct Slots<S, K> {
    held: BTreeMap<K, S>,
    taken: BTreeSet<S>,
    /// All slots below it are taken.
    next: u32,
}

impl<S: Slot, K: Ord> Slots<S, K> {
    /// As they were found. Of two slots that hold the same, the first is its own.
    pub fn observed(found: impl IntoIterator<Item = (S, K)>) -> Self {
        let mut slots = Self { held: BTreeMap::new(), taken: BTreeSet::new(), next: 1 };
        for (slot, key) in found {
            slots.taken.insert(slot);
            slots.held.entry(key).or_insert(slot);
        }
        slots
    }

    /// The slot that `key` has, or else the first free one; `None` if there is none.
    pub fn slot_of(&mut self, key: K) -> Option<S> {
        if let Some(slot) = self.held.get(&key) {
            return Some(*slot);
        }
        let slot = (self.next..).map_while(S::new).find(|slot| !self.taken.contains(slot))?;
        self.next = slot.get() + 1;
        self.taken.insert(slot);
        self.held.insert(key, slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_there_keeps_the_slot_and_the_next_gets_the_first_free_one() {
        let slot = |number| ServiceSlot::new(number).unwrap();
        let mut slots = Slots::observed([(slot(1), "gone"), (slot(3), "here"), (slot(4), "here")]);
        assert_eq!(
            ["new", "here", "newer", "new"].map(|key| slots.slot_of(key).unwrap().get()),
            [2, 3, 5, 2]
        );
    }

    #[test]
    fn slots_come_to_an_end() {
        let mut slots = Slots::<ServiceSlot, u32>::observed([]);
        assert!((1..=ServiceSlot::MAX).all(|key| slots.slot_of(key).is_some()));
        assert_eq!(slots.slot_of(0), None);
        assert_eq!(slots.slot_of(1), ServiceSlot::new(1));
        assert_eq!([0, ServiceSlot::MAX + 1].map(ServiceSlot::new), [None, None]);
    }
}
