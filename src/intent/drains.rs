//! Drains: a backend that is drained, or whose node is, takes no new flow, and those that it has end with the grace
//! period of its service. When that is, every node finds by its own clock.

use std::time::Duration;

use super::Intent;
use crate::model::{Availability, EndpointId, Node, NodeId, Service};

/// Which flows a backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// New ones, too.
    All,
    /// Those that began before it was drained.
    Existing,
    /// None any more.
    Nothing,
}

impl Intent {
    /// Which flows a backend of `service` has at `now`, since the Unix epoch, on that node if it is known. A node that
    /// is a member no more gets no new ones.
    pub fn serving(
        &self,
        service: &Service,
        backend: EndpointId,
        node: Option<NodeId>,
        now: Duration,
    ) -> Serving {
        let known = node.and_then(|node| self.nodes.get(&node));
        let drained = service.drained.get(&backend).copied();
        match drained.into_iter().chain(known.and_then(drained_at)).min() {
            Some(since) if now >= grace_end(service, since) => Serving::Nothing,
            None if known.is_some() == node.is_some() => Serving::All,
            Some(_) | None => Serving::Existing,
        }
    }

    /// When the next grace period ends after `now`; both since the Unix epoch.
    pub fn next_grace_end(&self, now: Duration) -> Option<Duration> {
        let nodes: Vec<u64> = self.nodes.values().filter_map(drained_at).collect();
        let ends = self.services.values().flat_map(|service| {
            service.drained.values().chain(&nodes).map(|since| grace_end(service, *since))
        });
        ends.filter(|end| *end > now).min()
    }
}

/// When a node was drained, if it is, in seconds since the Unix epoch.
fn drained_at(node: &Node) -> Option<u64> {
    (node.availability == Availability::Drain).then_some(node.drained_at)
}

/// When a grace period ends that began then, in seconds since the Unix epoch.
const fn grace_end(service: &Service, since: u64) -> Duration {
    Duration::from_secs(since).saturating_add(service.stop_grace_period.duration())
}
