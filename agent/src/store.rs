//! What survives a restart: few small values, each under its key, in one crash-safe file of the state directory.
//!
//! Every write is on the disk when its call returns. The calls block; asynchronous code goes through
//! `spawn_blocking` where they are more than a start's. Nothing here knows what the values mean.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use overlay::api::{ApiError, ErrorCode};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::file::{checked_database, failed, open_failed, open_private};

/// The file's name in the state directory.
pub const FILE: &str = "overlay.redb";

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// What a value is kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The node's id, certificate and key.
    Identity,
    /// The copy of the managers' intent, …
    IntentCopy,
    /// … and how it has changed since that was written.
    IntentChanges,
    /// The endpoints that this node holds.
    Attachments,
    /// The last boot's generation.
    Generation,
    /// The mark by which the data path knows its own packets.
    GuardMark,
    /// The secret that this node signs its facts with.
    FactsSecret,
    /// That this node keeps a log of the managers', and so may have voted.
    ManagersLog,
}

impl Key {
    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::IntentCopy => "intent-copy",
            Self::IntentChanges => "intent-changes",
            Self::Attachments => "attachments",
            Self::Generation => "generation",
            Self::GuardMark => "guard-mark",
            Self::FactsSecret => "facts-secret",
            Self::ManagersLog => "managers-log",
        }
    }
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by another agent", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file, or a value in it, is not what was written.
    #[error("{} is damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The managers' log is gone, though this node has voted.
    #[error("{} is gone, and this node may have voted what only it remembers", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or the state directory.
        path: PathBuf,
        /// What it said.
        cause: String,
    },
}

/// What to do about a managers' log that is damaged or gone: an older one would vote again what it has voted.
pub const NEW_LOG: &str = "have another manager demote this node and promote it again, which begins its log anew; where there \
                           is no other, restore a backup of the cluster";

impl StoreError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "stop the other agent, or give this one its own state_dir",
            Self::Damaged { .. } => {
                "restore the file from a backup, or move it away and let this node join the cluster anew"
            }
            Self::Gone { .. } => NEW_LOG,
            Self::Io { .. } => "the state directory must be on a writable file system with space left",
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorCode::Internal, error.to_string()).hint(error.hint())
    }
}

/// The open store; clones share it. It is closed, and free for another agent, once the last one is dropped.
#[derive(Clone)]
pub struct Store {
    /// None while it is opened again, and after that failed.
    database: Arc<RwLock<Option<Database>>>,
    open: Arc<dyn Fn() -> Result<Database, StoreError> + Send + Sync>,
    path: Arc<Path>,
}

impl Store {
    /// Opens the store in `state_dir`, which is made if missing; nobody but its owner may read either.
    ///
    /// # Errors
    /// Every kind of [`StoreError`].
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let (dir, path) = (state_dir.to_owned(), state_dir.join(FILE));
        let file = path.clone();
        let open = move || {
            let opened = open_private(&dir, &file);
            let opened =
                opened.map_err(|error| StoreError::Io { path: file.clone(), cause: error.to_string() })?;
            checked_database(&file, || Database::builder().create_file(opened))
        };
        Self::opened_by(open, &path)
    }

    fn opened_by(
        open: impl Fn() -> Result<Database, StoreError> + Send + Sync + 'static,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let database = Arc::new(RwLock::new(Some(open()?)));
        let store = Self { database, open: Arc::new(open), path: path.into() };
        // So that readers need no case for a table that was never written.
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    /// Begins a transaction. A database that a failing disk has made useless is opened again first: the disk may have
    /// room by now.
    fn begin<T, E: Into<redb::Error>>(
        &self,
        begin: impl Fn(&Database) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = held.as_ref() {
            match begin(database).map_err(Into::into) {
                Err(redb::Error::PreviousIo) => {}
                outcome => return outcome.map_err(|error| self.failed(error)),
            }
        }
        drop(held);
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The file is locked for as long as it is open.
        drop(held.take());
        let database = held.insert((self.open)()?);
        begin(database).map_err(|error| self.failed(error))
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The value of a key, if it was ever put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] also for a value that is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StoreError> {
        let transaction = self.begin(Database::begin_read)?;
        let table = transaction.open_table(TABLE).map_err(|error| self.failed(error))?;
        let value = table.get(key.name()).map_err(|error| self.failed(error))?;
        value.map(|value| self.decode(key, value.value())).transpose()
    }

    /// Puts a value in place of the key's last one.
    ///
    /// # Errors
    /// [`StoreError::Io`] above all; the last value is then kept.
    pub fn put<T: Serialize>(&self, key: Key, value: &T) -> Result<(), StoreError> {
        self.write(|batch| batch.put(key, value))
    }

    /// Removes a key's value, if there is one.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn remove(&self, key: Key) -> Result<(), StoreError> {
        self.write(|batch| batch.remove(key))
    }

    /// Does several changes as one: all of them, or none if `change` fails or the machine does.
    ///
    /// # Errors
    /// As [`Store::put`], and what `change` returns.
    pub fn write<T>(
        &self,
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.begin(Database::begin_write)?;
        let outcome = {
            let table = transaction.open_table(TABLE).map_err(|error| self.failed(error))?;
            change(&mut Batch { store: self, table })?
        };
        transaction.commit().map_err(|error| self.failed(error))?;
        Ok(outcome)
    }

    /// A number for this boot, greater than any that it ever returned: the time, or one more than the last
    /// where the clock went back. It is on the disk before it is returned.
    ///
    /// # Errors
    /// As [`Store::get`] and [`Store::put`].
    pub fn next_generation(&self, now_unix_ms: u64) -> Result<u64, StoreError> {
        self.write(|batch| {
            let last: u64 = batch.get(Key::Generation)?.unwrap_or(0);
            let next = now_unix_ms.max(last.saturating_add(1));
            batch.put(Key::Generation, &next)?;
            Ok(next)
        })
    }

    fn decode<T: DeserializeOwned>(&self, key: Key, bytes: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| self.damaged(key, error))
    }

    /// A value's damage, found by who knows what it means.
    pub(crate) fn damaged(&self, key: Key, cause: impl fmt::Display) -> StoreError {
        let cause = format!("the value of {}: {cause}", key.name());
        StoreError::Damaged { path: self.path.to_path_buf(), cause }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path, error.into())
    }
}

/// Changes that take effect together; see [`Store::write`].
pub struct Batch<'a> {
    store: &'a Store,
    table: redb::Table<'a, &'static str, &'static [u8]>,
}

impl Batch<'_> {
    /// The value of a key, with this batch's own changes.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StoreError> {
        let value = self.table.get(key.name()).map_err(|error| self.store.failed(error))?;
        value.map(|value| self.store.decode(key, value.value())).transpose()
    }

    /// Puts a value in place of the key's last one.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<(), StoreError> {
        let json = serde_json::to_vec(value).map_err(|error| StoreError::Io {
            path: self.store.path.to_path_buf(),
            cause: format!("the value of {}: {error}", key.name()),
        })?;
        self.table.insert(key.name(), json.as_slice()).map_err(|error| self.store.failed(error))?;
        Ok(())
    }

    /// Removes a key's value, if there is one.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.table.remove(key.name()).map_err(|error| self.store.failed(error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
