//! Who is there: announcing to those who are not, and what follows when one comes or goes.

use std::collections::BTreeSet;
use std::time::Duration;

use foca::OwnedNotification;
use overlay::model::NodeId;
use rand::seq::IteratorRandom as _;

use super::spread::PULL_PERIOD;
use super::{Node, Timer};
use crate::gossip::Peer;
use crate::gossip::membership::Identity;
use crate::gossip::wire::Payload;

const ANNOUNCE_FANOUT: usize = 3;
/// After a member came up; those who come up together share one exchange.
const SYNC_AFTER_UP_MS: std::ops::Range<u64> = 100..300;
/// A member that was declared down keeps its facts for so long, unless it asked for more.
const HOLD: Duration = Duration::from_secs(1);

impl Node {
    pub(super) fn set_intent(&mut self, peers: Vec<Peer>) {
        self.intent = peers.into_iter().map(|peer| (peer.node, peer)).collect();
        self.intent.remove(&self.me);
        self.membership.resize(self.intent.len() + 1);
        self.opener.set_members(self.intent.keys().copied().collect());
        self.stale = true;
        for node in self.heard_early() {
            self.sync_with(node);
        }
    }

    /// Asks a few nodes that should be members, but aren't, for theirs. So a node that knows nobody, or that all others
    /// gave up, finds its way back by itself.
    pub(super) fn announce(&mut self) {
        let away = self.intent.iter().filter(|(node, _)| !self.up.contains_key(node));
        let chosen = away.map(|(node, peer)| (*node, peer.addr)).sample(&mut self.rng, ANNOUNCE_FANOUT);
        for (node, addr) in chosen {
            self.membership.announce(node, addr);
        }
    }

    /// Does what the membership wants done. What it has to tell comes first, for that may make it want more.
    pub(super) fn drain_membership(&mut self, now: Duration) {
        while let Some(notification) = self.membership.wants.to_notify() {
            match notification {
                OwnedNotification::MemberUp(member) => self.member_up(member, now),
                OwnedNotification::Rename(_, member) if self.up.contains_key(&member.node()) => {
                    self.member_up(member, now);
                }
                OwnedNotification::MemberDown(member) => self.member_down(&member, now),
                OwnedNotification::Rejoin(_) => self.announce(),
                _ => {}
            }
        }
        while let Some((to, packet)) = self.membership.wants.to_send() {
            self.send(to.addr, &Payload::Swim(&packet).encode());
        }
        while let Some((after, timer)) = self.membership.wants.to_schedule() {
            self.timers.set(now + after, Timer::Swim(timer));
        }
    }

    pub(super) fn member_up(&mut self, member: Identity, now: Duration) {
        let node = member.node();
        tracing::info!(%node, addr = %member.addr, generation = member.generation, "member is up");
        self.held.remove(&node);
        self.up.insert(node, member);
        self.stale = true;
        let head = self.store.head();
        if head > 0 {
            let advert = self.own_payloads(head, head);
            self.push(Some(node), advert, now);
        }
        if !std::mem::replace(&mut self.sync_after_up_set, true) {
            self.set_random(now, SYNC_AFTER_UP_MS, Timer::SyncWith(node));
        }
        // A gap that was found before its owner was known to be up.
        self.set_pull(now + PULL_PERIOD);
    }

    pub(super) fn member_down(&mut self, member: &Identity, now: Duration) {
        let node = member.node();
        tracing::info!(%node, "member is down");
        if self.up.remove(&node).is_some() {
            self.hold(node, self.store.back_within(node).unwrap_or_default().max(HOLD), now);
        }
    }

    /// Keeps the facts of a node that said it will be back, where that is heard of only after it left: news of it came by
    /// way of others, or this node itself has just started.
    pub(super) fn hold_absent(&mut self, node: NodeId, now: Duration) {
        if !self.up.contains_key(&node)
            && let Some(hold) = self.store.back_within(node)
        {
            self.hold(node, hold, now);
        }
    }

    fn hold(&mut self, node: NodeId, hold: Duration, now: Duration) {
        self.held.insert(node, now + hold);
        self.timers.set(now + hold, Timer::Hold);
    }

    /// Nodes that are up, or whose facts stay for now.
    pub(super) fn living(&self) -> BTreeSet<NodeId> {
        self.up.keys().chain(self.held.keys()).copied().collect()
    }
}
