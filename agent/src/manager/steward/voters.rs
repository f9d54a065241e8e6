//! Who decides: the log's voters follow the managers in the intent, one change at a time.
//!
//! A new manager catches up before it decides; until then a majority does not depend on it. Each change is safe by itself,
//! and the next one begins when the last is committed.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::{ChangeMembers, EmptyNode};
use overlay::model::NodeId;
use tokio::time::{sleep, timeout};

use crate::manager::raft::{Role, Running};

/// After how long a change that came to nothing is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a new manager may take to catch up before another change has its turn.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The next change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// Sends this manager the log.
    Add(NodeId),
    /// Lets this manager, which has the log, decide.
    Count(NodeId),
    /// Goes on without this one.
    Remove(NodeId),
}

/// Who is to decide, and who does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Members {
    wanted: BTreeSet<NodeId>,
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

impl Members {
    fn of(running: &Running) -> Self {
        let metrics = running.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        Self {
            wanted: running.intent.borrow().managers().map(|node| node.id).collect(),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
        }
    }

    /// What to do next about one of `reached`, the managers that answer `me`, the leader. It goes last itself, as it leads
    /// no longer then. Who is added comes before who is removed, so that there are never fewer than need be.
    fn next(&self, me: NodeId, reached: impl Fn(NodeId) -> bool) -> Option<Change> {
        let learner = self.learners.iter().find(|id| self.wanted.contains(id) && reached(**id));
        if let Some(learner) = learner {
            return Some(Change::Count(*learner));
        }
        let known = |id: &&NodeId| self.voters.contains(id) || self.learners.contains(id);
        if let Some(new) = self.wanted.iter().find(|id| !known(id)) {
            return Some(Change::Add(*new));
        }
        let mut superfluous: Vec<NodeId> =
            self.voters.union(&self.learners).filter(|id| !self.wanted.contains(id)).copied().collect();
        superfluous.sort_by_key(|id| (*id == me, *id));
        superfluous.first().copied().map(Change::Remove)
    }
}

/// Keeps the voters as the intent has the managers, for as long as this one leads.
pub(in crate::manager) async fn keep(role: Role) {
    let Ok(running) = role.running() else { return };
    let me = role.node();
    let (mut metrics, mut intent) = (running.raft.metrics(), running.intent.clone());
    loop {
        metrics.mark_unchanged();
        intent.mark_unchanged();
        let change = Members::of(&running).next(me, |id| running.links.reaches(id));
        let Some(change) = change else {
            tokio::select! {
                _ = metrics.changed() => continue,
                changed = intent.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
        };
        match timeout(CATCH_UP, make(&running, &change)).await {
            Ok(Ok(())) => tracing::info!(?change, "the managers that decide have changed"),
            Ok(Err(cause)) => tracing::warn!(?change, cause, "the managers that decide cannot change yet"),
            Err(_) => tracing::warn!(?change, "the managers that decide do not change in time"),
        }
        sleep(AGAIN).await;
    }
}

async fn make(running: &Running, change: &Change) -> Result<(), String> {
    let raft = &running.raft;
    let made = match change {
        Change::Add(node) => raft.add_learner(*node, EmptyNode {}, true).await,
        Change::Count(node) => {
            raft.change_membership(ChangeMembers::AddVoterIds([*node].into()), false).await
        }
        Change::Remove(node) if Members::of(running).voters.contains(node) => {
            raft.change_membership(ChangeMembers::RemoveVoters([*node].into()), false).await
        }
        Change::Remove(node) => {
            raft.change_membership(ChangeMembers::RemoveNodes([*node].into()), false).await
        }
    };
    made.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u8]) -> BTreeSet<NodeId> {
        numbers.iter().map(|number| NodeId::from_bytes([*number; 16])).collect()
    }

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn members(wanted: &[u8], voters: &[u8], learners: &[u8]) -> Members {
        Members { wanted: ids(wanted), voters: ids(voters), learners: ids(learners) }
    }

    #[test]
    fn a_manager_catches_up_before_it_counts() {
        let next = |members: Members| members.next(id(1), |_| true);
        assert_eq!(next(members(&[1, 2], &[1], &[])), Some(Change::Add(id(2))));
        assert_eq!(next(members(&[1, 2], &[1], &[2])), Some(Change::Count(id(2))));
        assert_eq!(next(members(&[1, 2], &[1, 2], &[])), None);
        assert_eq!(next(members(&[1, 2, 3], &[1], &[2])), Some(Change::Count(id(2))), "one at a time");
    }

    #[test]
    fn one_that_is_away_does_not_count_and_keeps_nobody_waiting() {
        let away = |node| node != id(2);
        assert_eq!(members(&[1, 2, 3], &[1], &[2]).next(id(1), away), Some(Change::Add(id(3))));
        assert_eq!(members(&[1, 2], &[1], &[2]).next(id(1), away), None);
    }

    #[test]
    fn the_leader_goes_last() {
        let next = |members: Members| members.next(id(1), |_| true);
        assert_eq!(next(members(&[3], &[1, 2, 3], &[])), Some(Change::Remove(id(2))));
        assert_eq!(next(members(&[3], &[1, 3], &[])), Some(Change::Remove(id(1))));
        assert_eq!(next(members(&[3, 4], &[1, 3], &[])), Some(Change::Add(id(4))));
        assert_eq!(next(members(&[1], &[1], &[2])), Some(Change::Remove(id(2))));
    }
}
