//! What the node has to do later, ordered by when.

use std::collections::BTreeMap;
use std::time::Duration;

/// Timers, each due at a time since the node's start. Equal times keep their order.
pub(super) struct Timers<T> {
    due: BTreeMap<(Duration, u64), T>,
    next: u64,
}

impl<T> Timers<T> {
    pub(super) fn new() -> Self {
        Self { due: BTreeMap::new(), next: 0 }
    }

    pub(super) fn set(&mut self, at: Duration, timer: T) {
        self.due.insert((at, self.next), timer);
        self.next += 1;
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next one that is due by now.
    pub(super) fn pop(&mut self, now: Duration) -> Option<T> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
