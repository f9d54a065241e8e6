//! The manager's file: the Raft log, the vote, how far the log is committed, and the last snapshot.
//!
//! What is written is on the disk when the call returns, unless it says otherwise. The calls block. Nothing here knows what
//! the values mean.

mod batch;
mod value;

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::batch::Batch;
pub(super) use self::value::Value;
use crate::store::{StoreError, checked_database, failed, open_failed, open_private};

/// The file's name in the state directory.
const FILE: &str = "raft.redb";
/// The version of what is in the file; another is not read.
const FORMAT: u32 = 1;
/// What redb may keep of the file in memory, in bytes: the log's end and little else is read again.
const CACHE: usize = 8 << 20;
/// How long a role that ended may take to close the file, and how often that is looked at.
const CLOSING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// The open file; clones share it. It may be opened again once the last one is dropped.
#[derive(Clone)]
pub(crate) struct Journal {
    database: Arc<Database>,
    path: Arc<Path>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Journal").field(&self.path).finish()
    }
}

impl Journal {
    /// Opens the file in `state_dir`, or makes it; its owner alone may read it. Where the role has just ended, this waits
    /// for it to be closed: by whichever task of the Raft library ends last.
    ///
    /// # Errors
    /// Every kind of [`StoreError`].
    pub(crate) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let deadline = Instant::now() + CLOSING;
        loop {
            match Self::open_once(state_dir) {
                Err(StoreError::Busy { .. }) if Instant::now() < deadline => sleep(PAUSE),
                outcome => return outcome,
            }
        }
    }

    /// The same of a file that was made before: without it, or with nothing in it, none is made.
    ///
    /// # Errors
    /// The same, and [`StoreError::Gone`].
    pub(crate) fn open_kept(state_dir: &Path) -> Result<Self, StoreError> {
        let path = Self::path(state_dir);
        match std::fs::metadata(&path) {
            Ok(file) if file.len() > 0 => Self::open(state_dir),
            Ok(_) => Err(StoreError::Gone { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(StoreError::Gone { path }),
            Err(error) => Err(StoreError::Io { path, cause: error.to_string() }),
        }
    }

    fn open_once(state_dir: &Path) -> Result<Self, StoreError> {
        let path = Self::path(state_dir);
        let file = open_private(state_dir, &path)
            .map_err(|error| StoreError::Io { path: path.clone(), cause: error.to_string() })?;
        let backend = FileBackend::new(file).map_err(|error| open_failed(&path, error))?;
        Self::on(backend, &path)
    }

    /// On a disk of any kind; `name` is the file's in errors.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(crate) fn on(backend: impl StorageBackend, name: &Path) -> Result<Self, StoreError> {
        let open = || Database::builder().set_cache_size(CACHE).create_with_backend(backend);
        Self::new(checked_database(name, open)?, name.to_owned())
    }

    /// Forgets everything: this node is no manager any more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn remove(state_dir: &Path) -> Result<(), StoreError> {
        let path = Self::path(state_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Io { path, cause: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Whether there is such a file.
    pub(crate) fn exists(state_dir: &Path) -> bool {
        Self::path(state_dir).exists()
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE)
    }

    fn new(database: Database, path: PathBuf) -> Result<Self, StoreError> {
        let journal = Self { database: Arc::new(database), path: path.into() };
        // So that readers need no case for a table that was never written.
        journal.write(Durability::Immediate, |batch| {
            batch.transaction.open_table(VALUES).map_err(|error| journal.failed(error))?;
            batch.append(Vec::new())
        })?;
        match journal.get(Value::Format)? {
            Some(FORMAT) => Ok(journal),
            Some(other) => Err(journal.damaged(format!(
                "it has format {other}, and this version of overlayd reads format {FORMAT}"
            ))),
            None => {
                journal.put(Value::Format, &FORMAT)?;
                Ok(journal)
            }
        }
    }

    /// A value, if it was ever put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] also for one that is not a `T`.
    pub(super) fn get<T: DeserializeOwned>(&self, value: Value) -> Result<Option<T>, StoreError> {
        self.get_bytes(value)?.map(|bytes| self.decode(value.name(), &bytes)).transpose()
    }

    /// A value as it was put.
    ///
    /// # Errors
    /// As [`Journal::get`].
    pub(super) fn get_bytes(&self, value: Value) -> Result<Option<Vec<u8>>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = transaction.open_table(VALUES).map_err(|error| self.failed(error))?;
        let bytes = table.get(value.name()).map_err(|error| self.failed(error))?;
        Ok(bytes.map(|bytes| bytes.value().to_vec()))
    }

    /// Puts a value in place of the last one.
    ///
    /// # Errors
    /// [`StoreError::Io`] above all; whether the last one is kept is then open.
    pub(super) fn put(&self, value: Value, new: &impl Serialize) -> Result<(), StoreError> {
        let bytes = self.encode(value.name(), new)?;
        self.put_bytes(value, &bytes, Durability::Immediate)
    }

    /// Puts a value, which is on the disk once any later one is: losing it does no harm.
    ///
    /// # Errors
    /// As [`Journal::put`].
    pub(super) fn put_in_passing(&self, value: Value, new: &impl Serialize) -> Result<(), StoreError> {
        let bytes = self.encode(value.name(), new)?;
        self.put_bytes(value, &bytes, Durability::None)
    }

    /// Puts a value as it is.
    ///
    /// # Errors
    /// As [`Journal::put`].
    pub(super) fn put_bytes(
        &self,
        value: Value,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.write(durability, |batch| batch.put(value, bytes))
    }

    /// Appends entries, each under its index.
    ///
    /// # Errors
    /// As [`Journal::put`].
    pub(super) fn append<T: Serialize>(
        &self,
        entries: impl Iterator<Item = (u64, T)>,
    ) -> Result<(), StoreError> {
        let encode = |(index, entry)| Ok((index, self.encode("an entry of the log", &entry)?));
        let entries: Vec<_> = entries.map(encode).collect::<Result<_, StoreError>>()?;
        self.write(Durability::Immediate, |batch| batch.append(entries))
    }

    /// Removes the entries from `index` on.
    ///
    /// # Errors
    /// As [`Journal::put`].
    pub(super) fn truncate(&self, index: u64) -> Result<(), StoreError> {
        self.write(Durability::Immediate, |batch| batch.remove(index..))
    }

    /// Removes the entries up to and with `index`, and puts `purged`, which says so.
    ///
    /// # Errors
    /// As [`Journal::put`].
    pub(super) fn purge(&self, index: u64, purged: &impl Serialize) -> Result<(), StoreError> {
        let purged = self.encode(Value::Purged.name(), purged)?;
        self.write(Durability::Immediate, |batch| {
            batch.put(Value::Purged, &purged)?;
            batch.remove(..=index)
        })
    }

    /// Puts the beginning of a log in place of all that there is: values as they are, and no entry.
    ///
    /// # Errors
    /// As [`Journal::put`].
    pub(super) fn begin(&self, values: &[(Value, Vec<u8>)]) -> Result<(), StoreError> {
        self.write(Durability::Immediate, |batch| {
            batch.remove(..)?;
            values.iter().try_for_each(|(value, bytes)| batch.put(*value, bytes))
        })
    }

    /// The entries in `range`, as many of the first as have `limit` bytes together, and one at least.
    ///
    /// # Errors
    /// As [`Journal::get`].
    pub(super) fn entries<T: DeserializeOwned>(
        &self,
        range: impl RangeBounds<u64>,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = transaction.open_table(LOG).map_err(|error| self.failed(error))?;
        let bounds: (Bound<u64>, Bound<u64>) = (range.start_bound().cloned(), range.end_bound().cloned());
        let (mut entries, mut size) = (Vec::new(), 0);
        for entry in table.range(bounds).map_err(|error| self.failed(error))? {
            let (index, bytes) = entry.map_err(|error| self.failed(error))?;
            size += bytes.value().len();
            if size > limit && !entries.is_empty() {
                break;
            }
            entries.push(self.decode(&format!("entry {} of the log", index.value()), bytes.value())?);
        }
        Ok(entries)
    }

    /// The last entry.
    ///
    /// # Errors
    /// As [`Journal::get`].
    pub(super) fn last_entry<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed(error))?;
        let table = transaction.open_table(LOG).map_err(|error| self.failed(error))?;
        let last = table.last().map_err(|error| self.failed(error))?;
        last.map(|(_, bytes)| self.decode("the last entry of the log", bytes.value())).transpose()
    }

    /// A value's damage, found by who knows what it means.
    pub(super) fn damaged(&self, cause: String) -> StoreError {
        StoreError::Damaged { path: self.path.to_path_buf(), cause }
    }

    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Batch<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(|error| self.failed(error))?;
        transaction.set_durability(durability).map_err(|error| self.failed(error))?;
        change(&mut Batch { journal: self, transaction: &transaction })?;
        transaction.commit().map_err(|error| self.failed(error))
    }

    pub(super) fn encode(&self, what: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        postcard::to_stdvec(value).map_err(|error| StoreError::Io {
            path: self.path.to_path_buf(),
            cause: format!("{what} cannot be written: {error}"),
        })
    }

    fn decode<T: DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(bytes).map_err(|error| self.damaged(format!("{what}: {error}")))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path, error.into())
    }
}
