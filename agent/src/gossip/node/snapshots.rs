//! When a snapshot is published, and what it shows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use overlay::model::NodeId;

use super::{Node, Output, Timer};
use crate::gossip::Snapshot;

/// Snapshots are at least this far apart, and further in a large cluster: the plan that follows from each compares all
/// entries (see `make bench`), which may take no more than a share of a core under steady change, …
pub(super) const PUBLISH_PERIOD: Duration = Duration::from_millis(20);
const PUBLISH_PERIOD_PER_ENDPOINT: Duration = Duration::from_micros(1);
/// … and those that only bring counters this far.
const COUNT_PERIOD: Duration = Duration::from_secs(1);

impl Node {
    pub(super) fn plan_publishing(&mut self, now: Duration) {
        if !self.stale && self.counters == self.snapshot.counters {
            return;
        }
        let period = if self.stale { self.publish_period } else { COUNT_PERIOD };
        let at = self.published_at.map_or(now, |last| now.max(last + period));
        if at == now {
            self.publish(now);
        } else if self.publish_at.is_none_or(|planned| at < planned) {
            self.publish_at = Some(at);
            self.timers.set(at, Timer::Publish);
        }
    }

    /// The living members that the intent knows, and this node.
    pub(super) fn shown(&self) -> BTreeSet<NodeId> {
        let mut shown = self.living();
        shown.retain(|node| self.intent.contains_key(node));
        shown.insert(self.me);
        shown
    }

    pub(super) fn publish(&mut self, now: Duration) {
        self.publish_at = None;
        let mut missing = self.snapshot.missing.clone();
        let (mut view, mut alive) = (self.snapshot.view.clone(), self.snapshot.alive.clone());
        if std::mem::take(&mut self.stale) {
            missing = self.missing();
            self.look_whether_synced(&missing);
            alive = self.shown();
            let newest = self.store.view(&alive);
            if newest != *view {
                view = Arc::new(newest);
                let endpoints = u32::try_from(view.endpoint_count()).unwrap_or(u32::MAX);
                self.publish_period = PUBLISH_PERIOD.max(PUBLISH_PERIOD_PER_ENDPOINT * endpoints);
            }
        }
        let (synced, settled) = (self.synced, self.settled);
        let snapshot = Snapshot { view, alive, missing, synced, settled, counters: self.counters };
        if snapshot != *self.snapshot {
            self.snapshot = Arc::new(snapshot);
            self.published_at = Some(now);
            self.outputs.push(Output::Publish(self.snapshot.clone()));
        }
    }
}
