//! The copy of the intent that every node keeps on its disk, to start from when no manager is reached: the whole as it was once,
//! and what has changed since. So a change to a large intent is written with those before it, and the whole once in a while only.

use std::sync::Arc;

use overlay::intent::{Intent, IntentDelta, Revision};

use crate::store::{Batch, Key, Store, StoreError};

/// How much is kept of changes until the whole takes their place, in bytes of JSON. All of it is written at each change.
const MOST_CHANGES: usize = 64 << 10;

/// The copy that the store has; the empty intent where there is none. Blocks.
///
/// # Errors
/// The store's.
pub fn stored_intent(store: &Store) -> Result<Intent, StoreError> {
    let mut intent: Intent = store.get(Key::IntentCopy)?.unwrap_or_default();
    let (base, changes): (Revision, Vec<IntentDelta>) = store.get(Key::IntentChanges)?.unwrap_or_default();
    // A membership that ended, or began anew, may write its last change late.
    if base == Revision::of(&intent) {
        for change in changes {
            change.apply_to(&mut intent).map_err(|error| store.damaged(Key::IntentChanges, error))?;
        }
    }
    Ok(intent)
}

/// Makes `intent` the copy, whatever there was.
pub(super) fn put(batch: &mut Batch<'_>, intent: &Intent) -> Result<(), StoreError> {
    batch.put(Key::IntentCopy, intent)?;
    batch.remove(Key::IntentChanges)
}

/// Forgets the copy.
pub(super) fn remove(batch: &mut Batch<'_>) -> Result<(), StoreError> {
    batch.remove(Key::IntentCopy)?;
    batch.remove(Key::IntentChanges)
}

/// The copy of a node that follows. Nobody else writes it meanwhile.
pub(super) struct Copy {
    store: Store,
    /// What it is.
    held: Arc<Intent>,
    /// The whole that the disk has.
    base: Revision,
    /// What has changed since, oldest first, …
    changes: Vec<IntentDelta>,
    /// … and the size of that in bytes, or what makes the next write one of the whole.
    size: usize,
}

impl Copy {
    /// The store's, which is `held`.
    pub(super) fn new(store: Store, held: Arc<Intent>) -> Self {
        Self { store, held, base: Revision::default(), changes: Vec::new(), size: MOST_CHANGES }
    }

    /// Makes `intent` the copy. It is on the disk when this returns. Blocks.
    ///
    /// # Errors
    /// The store's; the copy is the last one then, or the new one.
    pub(super) fn write(&mut self, intent: Arc<Intent>) -> Result<(), StoreError> {
        let change = IntentDelta::between(&self.held, &intent);
        let size = serde_json::to_vec(&change).map_or(MOST_CHANGES, |json| json.len());
        let size = self.size.saturating_add(size);
        // After a failure nobody knows what is on the disk: nothing is added to it.
        self.size = MOST_CHANGES;
        if size > MOST_CHANGES {
            self.store.write(|batch| put(batch, &intent))?;
            self.base = Revision::of(&intent);
            self.changes.clear();
            self.size = 0;
        } else {
            self.changes.push(change);
            self.store.put(Key::IntentChanges, &(self.base, &self.changes))?;
            self.size = size;
        }
        self.held = intent;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use overlay::intent::{Command, NodeChange, State, apply};

    use super::*;
    use crate::manager::tests::{initial, network};

    fn changed(state: &mut State, command: &Command) -> Arc<Intent> {
        apply(state, command).unwrap();
        Arc::new(state.intent.clone())
    }

    #[test]
    fn changes_are_added_up_until_the_whole_takes_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(stored_intent(&store).unwrap(), Intent::default());
        let mut state = initial();
        let mut copy = Copy::new(store.clone(), Arc::default());
        let mut wholes = Vec::new();
        let node = *state.intent.nodes.keys().next().unwrap();
        for number in 0..40 {
            let labels_add = [("long".to_owned(), format!("{number:04000}"))].into();
            let change = NodeChange { labels_add, ..NodeChange::default() };
            let intent = changed(&mut state, &Command::UpdateNode { node, change, at: 0 });
            copy.write(Arc::clone(&intent)).unwrap();
            assert_eq!(stored_intent(&store).unwrap(), *intent, "{number}");
            wholes.push(store.get::<Intent>(Key::IntentCopy).unwrap().unwrap().version);
        }
        wholes.dedup();
        assert!((2..10).contains(&wholes.len()), "the whole was written at {wholes:?}");

        // One that starts again goes on where that one ended.
        let mut copy = Copy::new(store.clone(), Arc::new(state.intent.clone()));
        let intent = changed(&mut state, &network("another"));
        copy.write(intent).unwrap();
        assert_eq!(stored_intent(&store).unwrap(), state.intent);
    }

    #[test]
    fn changes_to_another_whole_count_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut state = initial();
        let mut copy = Copy::new(store.clone(), Arc::default());
        copy.write(changed(&mut state, &network("one"))).unwrap();
        let late = changed(&mut state, &network("two"));
        changed(&mut state, &network("three"));
        store.write(|batch| put(batch, &state.intent)).unwrap();
        copy.write(late).unwrap();
        assert_eq!(stored_intent(&store).unwrap(), state.intent);
        store.write(remove).unwrap();
        assert_eq!(stored_intent(&store).unwrap(), Intent::default());
    }
}
