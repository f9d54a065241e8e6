//! The Raft library's log, on the [`Journal`].
//!
//! Nothing is answered before it is on the disk, but how far the log is committed, which a restart learns anew. What
//! blocks is done off the asynchronous threads.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, LogId, LogState, OptionalSend, RaftLogId as _, RaftLogReader, StorageError, StorageIOError,
    Vote,
};

use super::journal::{Journal, Value};
use super::{Offload, Types};
use crate::store::StoreError;

/// How much of the log one request to a follower carries, in bytes; a single entry may be larger.
const BATCH: usize = 1 << 20;

/// The log; clones read the same.
pub(crate) struct LogStore<C> {
    journal: Journal,
    types: PhantomData<fn() -> C>,
}

impl<C> Clone for LogStore<C> {
    fn clone(&self) -> Self {
        Self::new(self.journal.clone())
    }
}

impl<C> LogStore<C> {
    /// On an open journal.
    pub(crate) const fn new(journal: Journal) -> Self {
        Self { journal, types: PhantomData }
    }
}

/// Does something with the journal that blocks.
pub(super) async fn with<C: Types, T: Send + 'static>(
    journal: &Journal,
    work: impl FnOnce(&Journal) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, AnyError> {
    let journal = journal.clone();
    match C::AsyncRuntime::offload(move || work(&journal)).await {
        Ok(done) => done.map_err(|error| AnyError::new(&error)),
        // redb panics where it finds disorder in what it has checked before.
        Err(cause) => Err(AnyError::error(cause)),
    }
}

impl<C: Types> LogStore<C> {
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AnyError> {
        with::<C, T>(&self.journal, work).await
    }

    async fn read(
        &self,
        range: impl RangeBounds<u64>,
        limit: usize,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let entries = self.with(move |journal| journal.entries(range, limit)).await;
        Ok(entries.map_err(StorageIOError::read_logs)?)
    }
}

impl<C: Types> RaftLogReader<C> for LogStore<C> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        self.read(range, usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        self.read(start..end, BATCH).await
    }
}

impl<C: Types> RaftLogStorage<C> for LogStore<C> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, StorageError<C::NodeId>> {
        let state = self.with(|journal| {
            let purged: Option<LogId<C::NodeId>> = journal.get(Value::Purged)?;
            let last: Option<C::Entry> = journal.last_entry()?;
            Ok((purged, last.map(|entry| entry.get_log_id().clone())))
        });
        let (last_purged_log_id, last) = state.await.map_err(StorageIOError::read_logs)?;
        Ok(LogState { last_log_id: last.or_else(|| last_purged_log_id.clone()), last_purged_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let vote = vote.clone();
        let saved = self.with(move |journal| journal.put(Value::Vote, &vote)).await;
        Ok(saved.map_err(StorageIOError::write_vote)?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<C::NodeId>>, StorageError<C::NodeId>> {
        Ok(self.with(|journal| journal.get(Value::Vote)).await.map_err(StorageIOError::read_vote)?)
    }

    async fn save_committed(
        &mut self,
        committed: Option<LogId<C::NodeId>>,
    ) -> Result<(), StorageError<C::NodeId>> {
        let saved = self.with(move |journal| journal.put_in_passing(Value::Committed, &committed)).await;
        Ok(saved.map_err(StorageIOError::write_logs)?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<C::NodeId>>, StorageError<C::NodeId>> {
        let read = self.with(|journal| journal.get::<Option<LogId<C::NodeId>>>(Value::Committed)).await;
        Ok(read.map_err(StorageIOError::read_logs)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<C>) -> Result<(), StorageError<C::NodeId>>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let indexed = |entry: C::Entry| (entry.get_log_id().index, entry);
        let entries: Vec<_> = entries.into_iter().map(indexed).collect();
        let appended = self.with(move |journal| journal.append(entries.into_iter())).await;
        appended.map_err(StorageIOError::write_logs)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let truncated = self.with(move |journal| journal.truncate(log_id.index)).await;
        Ok(truncated.map_err(StorageIOError::write_logs)?)
    }

    async fn purge(&mut self, log_id: LogId<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let purged = self.with(move |journal| journal.purge(log_id.index, &log_id)).await;
        Ok(purged.map_err(StorageIOError::write_logs)?)
    }
}
