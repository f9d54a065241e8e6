//! How a log begins: with a state, and one manager that decides alone.

use std::collections::BTreeMap;
use std::path::Path;

use openraft::{CommittedLeaderId, EmptyNode, LogId, Membership, StoredMembership, Vote};
use overlay::intent::State;
use overlay::model::NodeId;

use super::journal::{Journal, Value};
use super::snapshot::Contents;
use crate::store::StoreError;

/// Removes the log in `state_dir`, if there is one: the node leaves the cluster. Blocks.
///
/// # Errors
/// The store's.
pub(crate) fn end(state_dir: &Path) -> Result<(), StoreError> {
    Journal::remove(state_dir)
}

/// Begins the log in `state_dir` anew: `state` is what all later commands change, and `manager` is the only one that
/// decides. What the file held is gone. Blocks.
///
/// # Errors
/// The store's.
pub(crate) fn begin(state_dir: &Path, manager: NodeId, state: State) -> Result<(), StoreError> {
    let journal = Journal::open(state_dir)?;
    let first = LogId::new(CommittedLeaderId::new(1, manager), 1);
    let voters = Membership::new(vec![[manager].into()], BTreeMap::from([(manager, EmptyNode {})]));
    let membership = StoredMembership::new(Some(first), voters);
    let contents = Contents { last_log_id: Some(first), membership, state };
    let snapshot = contents.encode().map_err(|error| journal.damaged(error.to_string()))?;
    journal.begin(&[
        (Value::Vote, journal.encode("the vote", &Vote::new_committed(1, manager))?),
        (Value::Committed, journal.encode("the start", &Some(first))?),
        (Value::Purged, journal.encode("the start", &first)?),
        (Value::Snapshot, snapshot),
    ])
}

/// The state that the log in `state_dir` began with.
#[cfg(test)]
pub(crate) fn stored(state_dir: &Path) -> State {
    let journal = Journal::open(state_dir).unwrap();
    let machine = super::machine::Machine::<super::types::Managers>::open(journal).unwrap();
    let (intent, secrets) = (machine.intent(), machine.secrets());
    State { intent: (**intent.borrow()).clone(), secrets: (**secrets.borrow()).clone() }
}
