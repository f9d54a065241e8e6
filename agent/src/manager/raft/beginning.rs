//! How a log begins: with a state, and one manager that decides alone.

use std::collections::BTreeMap;
use std::path::Path;

use openraft::{
    CommittedLeaderId, EmptyNode, Entry, EntryPayload, LogId, Membership, StoredMembership, Vote,
};
use overlay::intent::{State, apply};
use overlay::model::NodeId;

use super::journal::{Journal, Value};
use super::machine::Machine;
use super::snapshot::Contents;
use super::types::Managers;
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
    begin_in(&Journal::open(state_dir)?, manager, state)
}

/// As [`begin`], in a journal that is open.
///
/// # Errors
/// The journal's.
pub(super) fn begin_in(journal: &Journal, manager: NodeId, state: State) -> Result<(), StoreError> {
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

/// The state that the log in `state_dir` leads to, with entries of which nobody here knows whether a majority had them: some
/// were answered, and none may be lost. Blocks.
///
/// # Errors
/// The store's; what the file holds is damaged, or it is gone.
pub(crate) fn held(state_dir: &Path) -> Result<State, StoreError> {
    let journal = Journal::open_kept(state_dir)?;
    let machine = Machine::<Managers>::open(journal.clone())?;
    let first = machine.applied().map_or(0, |applied| applied.index + 1);
    let mut state = machine.into_state();
    for entry in journal.entries::<Entry<Managers>>(first.., usize::MAX)? {
        if let EntryPayload::Normal(command) = entry.payload {
            // A refusal is what the command came to, here as anywhere else.
            drop(apply(&mut state, &command));
        }
    }
    Ok(state)
}
