//! The Raft library's state machine: `overlay::intent::apply`, in memory.
//!
//! After a restart it is the last snapshot, and the log's committed entries after it again. A command that is refused is an
//! entry as any other: the refusal is its answer.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use overlay::intent::{Intent, Reply, Secrets, State, apply};
use redb::Durability;
use tokio::sync::watch;

use super::journal::{Journal, Value};
use super::snapshot::Contents;
use super::store::with;
use super::types::{Answer, Types};
use crate::store::StoreError;

type Membership<C> = StoredMembership<<C as openraft::RaftTypeConfig>::NodeId, openraft::EmptyNode>;
type Meta<C> = SnapshotMeta<<C as openraft::RaftTypeConfig>::NodeId, openraft::EmptyNode>;

/// The state, as the applied entries made it.
pub(crate) struct Machine<C: Types> {
    journal: Journal,
    applied: Option<LogId<C::NodeId>>,
    membership: Membership<C>,
    state: State,
    intent: watch::Sender<Arc<Intent>>,
    secrets: watch::Sender<Arc<Secrets>>,
}

impl<C: Types> Machine<C> {
    /// As the journal's last snapshot has it. Blocks.
    ///
    /// # Errors
    /// The journal's; a snapshot that is damaged, or another version's.
    pub(crate) fn open(journal: Journal) -> Result<Self, StoreError> {
        let (applied, membership, state) = match journal.get_bytes(Value::Snapshot)? {
            None => (None, StoredMembership::default(), State::default()),
            Some(bytes) => {
                let contents =
                    Contents::decode(&bytes).map_err(|error| journal.damaged(error.to_string()))?;
                (contents.last_log_id, contents.membership, contents.state)
            }
        };
        Ok(Self {
            journal,
            applied,
            membership,
            intent: watch::Sender::new(Arc::new(state.intent.clone())),
            secrets: watch::Sender::new(Arc::new(state.secrets.clone())),
            state,
        })
    }

    /// The intent now, and each later one; who looks seldom misses those in between. Ends with the machine.
    pub(crate) fn intent(&self) -> watch::Receiver<Arc<Intent>> {
        self.intent.subscribe()
    }

    /// The managers' secrets, as [`Machine::intent`].
    pub(crate) fn secrets(&self) -> watch::Receiver<Arc<Secrets>> {
        self.secrets.subscribe()
    }

    /// The state now.
    #[cfg(test)]
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// The last entry that made the state what it is.
    pub(crate) fn applied(&self) -> Option<&LogId<C::NodeId>> {
        self.applied.as_ref()
    }

    /// The state, with nobody to watch it any more.
    pub(crate) fn into_state(self) -> State {
        self.state
    }

    /// Shows those who watch what is new. Every change raises the intent's version.
    fn publish(&self) {
        if self.state.secrets != **self.secrets.borrow() {
            self.secrets.send_replace(Arc::new(self.state.secrets.clone()));
        }
        self.intent.send_replace(Arc::new(self.state.intent.clone()));
    }

    fn carry_out(&mut self, payload: EntryPayload<C>, log_id: &LogId<C::NodeId>) -> Answer {
        let outcome = match payload {
            EntryPayload::Normal(command) => apply(&mut self.state, &command),
            EntryPayload::Blank => Ok(Reply::Done),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id.clone()), membership);
                Ok(Reply::Done)
            }
        };
        Answer { version: self.state.intent.version, outcome }
    }
}

impl<C: Types> RaftStateMachine<C> for Machine<C> {
    type SnapshotBuilder = Builder<C>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<C::NodeId>>, Membership<C>), StorageError<C::NodeId>> {
        Ok((self.applied.clone(), self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, StorageError<C::NodeId>>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let before = self.state.intent.version;
        let mut answers = Vec::new();
        for entry in entries {
            answers.push(self.carry_out(entry.payload, &entry.log_id));
            self.applied = Some(entry.log_id);
        }
        if self.state.intent.version != before {
            self.publish();
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<C> {
        let contents = Contents {
            last_log_id: self.applied.clone(),
            membership: self.membership.clone(),
            state: self.state.clone(),
        };
        Builder { journal: self.journal.clone(), contents: contents.into() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<C::NodeId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta<C>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<C::NodeId>> {
        let bytes = snapshot.into_inner();
        let signature = Some(meta.signature());
        let contents = Contents::<C::NodeId>::decode(&bytes)
            .map_err(|error| StorageIOError::write_snapshot(signature.clone(), AnyError::new(&error)))?;
        let stored = with::<C, _>(&self.journal, move |journal| {
            journal.put_bytes(Value::Snapshot, &bytes, Durability::Immediate)
        });
        stored.await.map_err(|error| StorageIOError::write_snapshot(signature, error))?;
        self.applied = contents.last_log_id;
        self.membership = contents.membership;
        self.state = contents.state;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<C>>, StorageError<C::NodeId>> {
        let read = with::<C, _>(&self.journal, |journal| {
            let Some(bytes) = journal.get_bytes(Value::Snapshot)? else { return Ok(None) };
            let contents =
                Contents::<C::NodeId>::decode(&bytes).map_err(|error| journal.damaged(error.to_string()))?;
            Ok(Some((contents.meta(&bytes), bytes)))
        });
        let snapshot = read.await.map_err(|error| StorageIOError::read_snapshot(None, error))?;
        Ok(snapshot.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

/// The state of one moment, to become a snapshot while later entries are applied.
pub(crate) struct Builder<C: Types> {
    journal: Journal,
    contents: Arc<Contents<C::NodeId>>,
}

impl<C: Types> RaftSnapshotBuilder<C> for Builder<C> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<C>, StorageError<C::NodeId>> {
        let contents = Arc::clone(&self.contents);
        let built = with::<C, _>(&self.journal, move |journal| {
            let bytes = contents.encode().map_err(|error| journal.damaged(error.to_string()))?;
            journal.put_bytes(Value::Snapshot, &bytes, Durability::Immediate)?;
            Ok((contents.meta(&bytes), bytes))
        });
        let (meta, bytes) = built.await.map_err(|error| StorageIOError::write_snapshot(None, error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}
