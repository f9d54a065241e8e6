//! What is held of one owner's one generation, and the merge rule within it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Delta, Key, Record};
use crate::model::NodeId;

/// One generation's records, and what of it is covered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Generation {
    floor: u64,
    mark: u64,
    /// The highest change known to exist.
    head: u64,
    /// Covered ranges `(from, to]` beyond the mark: sorted, neither touching one another nor the mark.
    ahead: Vec<(u64, u64)>,
    /// Whether the mark ever reached the head.
    whole: bool,
    records: BTreeMap<Key, Slot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    version: u64,
    body: Option<Vec<u8>>,
    /// When this holder first looked at the tombstone.
    buried: Option<Duration>,
}

impl Generation {
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// Whether all that was known to exist was covered at some time, so that nothing older is needed.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The records: a key without a body is deleted.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Key, Option<&[u8]>)> {
        self.records.iter().map(|(key, slot)| (key, slot.body.as_deref()))
    }

    /// The first gap, `(from, to]`.
    pub(super) fn gap(&self) -> Option<(u64, u64)> {
        let end = self.ahead.first().map_or(self.head, |range| range.0);
        (self.mark < end).then_some((self.mark, end))
    }

    /// Whether a sound delta of this generation says anything that was not known.
    pub(super) fn is_news(&self, delta: &Delta) -> bool {
        let is_newer = |record: &Record| {
            record.version > self.records.get(&record.key).map_or(self.floor, |slot| slot.version)
        };
        delta.to > self.mark || delta.head > self.head || delta.records.iter().any(is_newer)
    }

    /// Takes over a sound delta of this generation; true if a record changed.
    pub(super) fn merge(&mut self, delta: Delta) -> bool {
        let mut changed = false;
        let mut floor = self.floor;
        if self.mark < delta.floor {
            let listed: BTreeSet<Key> = delta.records.iter().map(|record| record.key).collect();
            let before = self.records.len();
            self.records.retain(|key, slot| slot.version >= delta.floor || listed.contains(key));
            changed |= self.records.len() != before;
            floor = delta.floor;
        }
        for Record { key, version, body } in delta.records {
            let newest = self.records.get(&key).map_or(self.floor, |slot| slot.version);
            if version > newest {
                self.records.insert(key, Slot { version, body, buried: None });
                changed = true;
            }
        }
        self.floor = floor;
        self.head = self.head.max(delta.head);
        self.cover(delta.from, delta.to);
        changed
    }

    fn cover(&mut self, from: u64, to: u64) {
        if from < to && to > self.mark {
            self.ahead.push((from, to));
            self.ahead.sort_unstable();
        }
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.ahead.len());
        for &(from, to) in &self.ahead {
            if from <= self.mark {
                self.mark = self.mark.max(to);
            } else if let Some(last) = joined.last_mut().filter(|last| from <= last.1) {
                last.1 = last.1.max(to);
            } else {
                joined.push((from, to));
            }
        }
        self.ahead = joined;
        self.whole |= self.mark > 0 && self.mark == self.head;
    }

    /// The owner's side: makes the records equal to `wanted`, numbering each change; true if there was one.
    pub(super) fn restate(&mut self, wanted: BTreeMap<Key, Vec<u8>>) -> bool {
        let before = self.mark;
        let gone: Vec<Key> = self
            .records
            .iter()
            .filter(|(key, slot)| slot.body.is_some() && !wanted.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.change(key, None);
        }
        for (key, body) in wanted {
            if self.records.get(&key).is_none_or(|slot| slot.body.as_ref() != Some(&body)) {
                self.change(key, Some(body));
            }
        }
        self.head = self.mark;
        self.whole = true;
        self.mark != before
    }

    /// The owner's side: changes one record and leaves the others.
    pub(super) fn add(&mut self, key: Key, body: Vec<u8>) {
        self.change(key, Some(body));
        self.head = self.mark;
    }

    fn change(&mut self, key: Key, body: Option<Vec<u8>>) {
        self.mark += 1;
        self.records.insert(key, Slot { version: self.mark, body, buried: None });
    }

    /// Everything that is stated, in the order of keys: the same for all who hold all of it, whatever they know of
    /// deletions. `None` if there is a gap.
    pub(super) fn whole(&self, owner: NodeId, generation: u64) -> Option<Delta> {
        let live = |(key, slot): (&Key, &Slot)| {
            let body = Some(slot.body.clone()?);
            Some(Record { key: *key, version: slot.version, body })
        };
        let records = || self.records.iter().filter_map(live).collect();
        let (head, to) = (self.head, self.mark);
        (to == head).then(|| Delta { owner, generation, head, floor: 0, from: 0, to, records: records() })
    }

    /// What someone whose mark is `from` lacks: a range if it can be one, else the whole state.
    pub(super) fn since(&self, owner: NodeId, generation: u64, from: u64) -> Delta {
        let whole = from < self.floor;
        let from = if whole { 0 } else { from };
        let floor = if whole { self.floor } else { 0 };
        let mut records = self.range(from, if whole { u64::MAX } else { self.mark });
        records.sort_unstable_by_key(|record| record.version);
        Delta { owner, generation, head: self.head, floor, from, to: self.mark, records }
    }

    /// The range `(from, to]` as deltas of up to `limit` encoded bytes, the last of which ends at `to`. A record
    /// that alone exceeds the limit is left out, and so is its version: whoever lacks it sees a gap. Nothing, if
    /// part of the range was dropped.
    pub(super) fn chunks(
        &self,
        owner: NodeId,
        generation: u64,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Vec<Delta> {
        let to = to.min(self.mark);
        if from < self.floor || from > to {
            return Vec::new();
        }
        let delta =
            |from, to, records| Delta { owner, generation, head: self.head, floor: 0, from, to, records };
        let mut chunks = Vec::new();
        let (mut start, mut size, mut batch) = (from, Delta::SIZE_BOUND, Vec::new());
        let mut records = self.range(from, to);
        records.sort_unstable_by_key(|record| record.version);
        for record in records {
            let oversized = Delta::SIZE_BOUND + record.size_bound() > limit;
            if oversized || size + record.size_bound() > limit {
                let end = record.version - 1;
                if start < end {
                    chunks.push(delta(start, end, std::mem::take(&mut batch)));
                }
                start = if oversized { record.version } else { end };
                size = Delta::SIZE_BOUND;
            }
            if !oversized {
                size += record.size_bound();
                batch.push(record);
            }
        }
        chunks.push(delta(start, to, batch));
        chunks
    }

    fn range(&self, from: u64, to: u64) -> Vec<Record> {
        self.records
            .iter()
            .filter(|(_, slot)| slot.version > from && slot.version <= to)
            .map(|(key, slot)| Record { key: *key, version: slot.version, body: slot.body.clone() })
            .collect()
    }

    /// Whether [`expire`](Self::expire) has anything to look at.
    pub(super) fn has_tombstones(&self) -> bool {
        self.records.values().any(|slot| slot.body.is_none())
    }

    /// Drops the tombstones that were first seen here `keep` ago, unless there is a gap: what a floor says is that
    /// everything below it is known.
    pub(super) fn expire(&mut self, now: Duration, keep: Duration) {
        if self.mark < self.head {
            return;
        }
        let floor = &mut self.floor;
        self.records.retain(|_, slot| {
            if slot.body.is_some() {
                return true;
            }
            let buried = *slot.buried.get_or_insert(now);
            let drop = now.saturating_sub(buried) >= keep;
            if drop {
                *floor = slot.version.max(*floor);
            }
            !drop
        });
    }
}
