//! Who is a member and alive: the gossip library's (SWIM) settings and identity. It does no I/O: what it wants sent
//! and timed is taken out by the node after every call.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, PostcardCodec};
use overlay::model::NodeId;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use super::wire::MAX_SWIM;

/// Each node probes one other so often. At the library's rate of one a second, every fiftieth death goes without a probe for
/// four seconds, whatever the number of nodes.
const PROBE_PERIOD: Duration = Duration::from_millis(500);
/// A probe not answered by then is repeated by way of others, in the rest of the period.
const PROBE_RTT: Duration = Duration::from_millis(200);

/// A suspected member has this long to say that it is alive.
const SUSPECT_TO_DOWN: Duration = Duration::from_secs(3);

/// A rumour is repeated so many times as often as the library would: at its rate every tenth death is missed by one of 20
/// nodes, which then takes a whole round of probes to see it. Rumours are rare and small.
const RUMOUR_FACTOR: NonZeroU8 = NonZeroU8::new(4).unwrap();

/// A member as SWIM knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Identity {
    node: [u8; 16],
    /// Where its gossip listens.
    pub(super) addr: SocketAddr,
    /// Its boot.
    pub(super) generation: u64,
    /// How often in this boot it was declared down and came back.
    renewal: u32,
}

impl Identity {
    pub(super) fn new(node: NodeId, addr: SocketAddr, generation: u64) -> Self {
        Self { node: *node.as_bytes(), addr, generation, renewal: 0 }
    }

    pub(super) fn node(&self) -> NodeId {
        NodeId::from_bytes(self.node)
    }
}

impl foca::Identity for Identity {
    type Addr = [u8; 16];

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> [u8; 16] {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        let rank = |it: &Self| (it.generation, it.renewal, it.addr);
        rank(self) > rank(adversary)
    }
}

/// SWIM's state, and what it wants done.
pub(super) struct Membership {
    foca: Foca<Identity, PostcardCodec, SmallRng, NoCustomBroadcast>,
    pub(super) wants: AccumulatingRuntime<Identity>,
}

impl Membership {
    pub(super) fn new(me: Identity, rng: SmallRng) -> Self {
        Self { foca: Foca::new(me, config(1), rng, PostcardCodec), wants: AccumulatingRuntime::new() }
    }

    /// Adapts how often a rumour is repeated to the number of nodes.
    pub(super) fn resize(&mut self, nodes: usize) {
        if let Err(error) = self.foca.set_config(config(nodes)) {
            tracing::error!(%error, nodes, "membership kept its settings");
        }
    }

    pub(super) fn receive(&mut self, packet: &[u8]) -> Result<(), foca::Error> {
        self.foca.handle_data(packet, &mut self.wants)
    }

    pub(super) fn timer(&mut self, timer: foca::Timer<Identity>) {
        if let Err(error) = self.foca.handle_timer(timer, &mut self.wants) {
            tracing::warn!(%error, "membership timer");
        }
    }

    /// Asks a node, known by its id and address alone, for its members; it learns of this one thereby.
    pub(super) fn announce(&mut self, node: NodeId, addr: SocketAddr) {
        if let Err(error) = self.foca.announce(Identity::new(node, addr, 0), &mut self.wants) {
            tracing::warn!(%error, %node, "announcing");
        }
    }

    /// The members that are not down, this node among them: equal on nodes that agree.
    pub(super) fn active(&self) -> BTreeSet<Identity> {
        let me = self.foca.identity().clone();
        self.foca.iter_members().map(|member| member.id().clone()).chain([me]).collect()
    }

    /// All that is known of members, also of those that are down, and this node.
    pub(super) fn known(&self) -> Vec<foca::Member<Identity>> {
        let me = foca::Member::alive(self.foca.identity().clone());
        self.foca.iter_membership_state().cloned().chain([me]).collect()
    }

    /// Takes over what another node [knows](Self::known). Nobody is told: a rumour of it is under way, or was.
    pub(super) fn adopt(&mut self, members: Vec<foca::Member<Identity>>) {
        if let Err(error) = self.foca.apply_many(members.into_iter(), false, &mut self.wants) {
            tracing::warn!(%error, "taking over a member list");
        }
    }
}

fn config(nodes: usize) -> foca::Config {
    let nodes = u32::try_from(nodes).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let lan = foca::Config::new_lan(nodes);
    foca::Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        suspect_to_down_after: SUSPECT_TO_DOWN,
        max_packet_size: NonZeroUsize::new(MAX_SWIM).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: lan.max_transmissions.saturating_mul(RUMOUR_FACTOR),
        notify_down_members: true,
        ..lan
    }
}
