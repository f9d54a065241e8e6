//! Push and pull: how facts go out, and how gaps are filled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay::facts::{Delta, Pull};
use overlay::model::NodeId;

use super::{Node, Timer};
use crate::gossip::wire::{MAX_DELTA, Payload};

/// When a push is repeated, after it was sent.
const REPEATS: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(180)];
/// After so long a push is out, with its repeats.
pub(in crate::gossip) const PUSHED_WITHIN: Duration = Duration::from_millis(200);
/// A push of more datagrams than this is repeated as an advert alone.
const REPEATED_WHOLE: usize = 4;
/// A change of more datagrams than this is not pushed but advertised, and a pull gets no more at a time.
const BURST: usize = 32;
/// A gap is not asked for before the rest of a burst had time to arrive, …
const PULL_DELAY: Duration = Duration::from_millis(3);
/// … and again this often.
pub(super) const PULL_PERIOD: Duration = Duration::from_millis(100);
/// After so many pulls the gap's owner is synchronized with, before it is asked again.
const PULLS_BEFORE_SYNC: u32 = 3;

impl Node {
    pub(super) fn merge(&mut self, delta: Delta, now: Duration) {
        if delta.owner == self.me && delta.generation > self.generation {
            tracing::error!(
                known = delta.generation,
                mine = self.generation,
                "other nodes know a later boot of this node and refuse what this one says; \
                 hint: its generation went back, or two nodes have the same id"
            );
        }
        let owner = delta.owner;
        let outcome = self.store.merge(delta);
        if outcome.changed {
            self.stale = true;
            self.hold_absent(owner, now);
        }
        if outcome.pull.is_some() {
            self.set_pull(now + PULL_DELAY);
        }
    }

    /// Pushes what changed since the last time.
    pub(super) fn flush(&mut self, now: Duration) {
        self.flush_set = false;
        let head = self.store.head();
        let mut payloads = self.own_payloads(self.pushed, head);
        self.pushed = head;
        if payloads.len() > BURST || payloads.is_empty() {
            payloads = self.own_payloads(head, head);
        }
        self.push(None, payloads, now);
    }

    /// Own changes `(from, to]` as payloads. Where both are the head it is an advert: one payload without a record.
    pub(super) fn own_payloads(&self, from: u64, to: u64) -> Vec<Vec<u8>> {
        let chunks = self.store.own_chunks(from, to, MAX_DELTA);
        chunks.into_iter().map(|delta| Payload::Push(self.signed(delta)).encode()).collect()
    }

    /// Sends own payloads to one member or to all, now and again.
    pub(super) fn push(&mut self, to: Option<NodeId>, payloads: Vec<Vec<u8>>, now: Duration) {
        self.send_all(to, &payloads);
        let head = self.store.head();
        let repeated =
            if payloads.len() <= REPEATED_WHOLE { payloads } else { self.own_payloads(head, head) };
        let payloads: Arc<[_]> = repeated.into();
        for after in REPEATS {
            self.timers.set(now + after, Timer::Repeat { to, payloads: payloads.clone() });
        }
    }

    /// Asks for every gap whose owner is up.
    pub(super) fn pull(&mut self, now: Duration) {
        self.pull_set = false;
        let up = &self.up;
        let gaps: BTreeMap<NodeId, Pull> = self
            .store
            .gaps()
            .filter(|pull| up.contains_key(&pull.owner))
            .map(|pull| (pull.owner, pull))
            .collect();
        self.asked.retain(|owner, (mark, _)| gaps.get(owner).is_some_and(|pull| pull.from == *mark));
        for (owner, pull) in gaps {
            let (_, times) = self.asked.entry(owner).or_insert((pull.from, 0));
            *times += 1;
            if *times > PULLS_BEFORE_SYNC + 1 {
                continue;
            }
            if *times > PULLS_BEFORE_SYNC {
                self.sync_with(owner);
            } else {
                self.counters.pulls_sent += 1;
                self.send(self.up[&owner].addr, &Payload::Pull(pull).encode());
            }
            self.set_pull(now + PULL_PERIOD);
        }
    }

    pub(super) fn set_pull(&mut self, at: Duration) {
        if !std::mem::replace(&mut self.pull_set, true) {
            self.timers.set(at, Timer::Pull);
        }
    }

    pub(super) fn answer(&mut self, pull: Pull, from: SocketAddr) {
        if pull.owner != self.me || pull.generation != self.generation {
            return;
        }
        self.counters.pulls_answered += 1;
        for payload in self.own_payloads(pull.from, pull.to).into_iter().take(BURST) {
            self.send(from, &payload);
        }
    }
}
