//! Datagrams that are refused: each is counted, and the log tells of them now and then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::Node;
use crate::gossip::seal::Refusal;

/// How often the log tells of what is refused for the same reason, whoever sends it: anybody can, in any name.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// When the log last told of each.
pub(super) type Told = BTreeMap<Refusal, Duration>;

impl Node {
    pub(super) fn refuse(&mut self, refusal: Refusal, from: SocketAddr, now: Duration) {
        if self.told.get(&refusal).is_none_or(|told| now.saturating_sub(*told) >= TELL_AGAIN) {
            self.told.insert(refusal, now);
            tracing::warn!(%from, cause = %refusal, "a datagram was refused");
        }
        let counters = &mut self.counters;
        *match refusal {
            Refusal::Oversized => &mut counters.refused_oversized,
            Refusal::Truncated => &mut counters.refused_truncated,
            Refusal::Version => &mut counters.refused_malformed,
            Refusal::UnknownKey => &mut counters.refused_unknown_key,
            Refusal::Forged => &mut counters.refused_forged,
            Refusal::Stale | Refusal::Replayed => &mut counters.refused_replayed,
            Refusal::Stranger => &mut counters.refused_unknown_owner,
        } += 1;
    }
}
