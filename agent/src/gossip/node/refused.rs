//! What is refused: all of it is counted, and the log tells of it now and then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use overlay::model::NodeId;

use super::Node;
use crate::gossip::seal::Refusal;

/// How often the log tells of what is refused for the same reason, whoever sends it: anybody can, in any name.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Sealed(#[from] Refusal),
    #[error("it makes no sense, though a member sealed it")]
    Malformed,
    #[error("it states facts that are not its sender's, or that the sender did not sign")]
    NotOwner,
    #[error("an exchange brought facts that their owner did not state")]
    Relayed,
}

/// When the log last told of each.
pub(super) type Told = BTreeMap<Reason, Duration>;

impl Node {
    /// Refuses a datagram.
    pub(super) fn refuse(&mut self, reason: impl Into<Reason>, from: SocketAddr, now: Duration) {
        let reason = reason.into();
        if self.is_to_be_told(reason, now) {
            tracing::warn!(%from, cause = %reason, "a datagram was refused");
        }
        self.count(reason);
    }

    /// Refuses what an exchange brought of an owner.
    pub(super) fn refuse_relayed(&mut self, owner: NodeId, now: Duration) {
        if self.is_to_be_told(Reason::Relayed, now) {
            tracing::warn!(%owner, cause = %Reason::Relayed, "facts were refused");
        }
        self.count(Reason::Relayed);
    }

    fn is_to_be_told(&mut self, reason: Reason, now: Duration) -> bool {
        let is_due = self.told.get(&reason).is_none_or(|told| now.saturating_sub(*told) >= TELL_AGAIN);
        if is_due {
            self.told.insert(reason, now);
        }
        is_due
    }

    const fn count(&mut self, reason: Reason) {
        let counters = &mut self.counters;
        *match reason {
            Reason::Sealed(Refusal::Oversized) => &mut counters.refused_oversized,
            Reason::Sealed(Refusal::Truncated) => &mut counters.refused_truncated,
            Reason::Sealed(Refusal::Version) | Reason::Malformed => &mut counters.refused_malformed,
            Reason::Sealed(Refusal::UnknownKey) => &mut counters.refused_unknown_key,
            Reason::Sealed(Refusal::Forged) => &mut counters.refused_forged,
            Reason::Sealed(Refusal::Stale | Refusal::Replayed) => &mut counters.refused_replayed,
            Reason::Sealed(Refusal::Stranger) => &mut counters.refused_unknown_owner,
            Reason::NotOwner | Reason::Relayed => &mut counters.refused_not_owner,
        } += 1;
    }
}
