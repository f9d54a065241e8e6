//! What survives a restart: few small values, each under its key, in one crash-safe file of the state directory.
//!
//! Every write is on the disk when its call returns. The calls block; asynchronous code goes through
//! `spawn_blocking` where they are more than a start's. Nothing here knows what the values mean.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use overlay::api::{ApiError, ErrorCode};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file's name in the state directory.
pub const FILE: &str = "overlay.redb";

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// What a value is kept under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The node's id, certificate and key.
    Identity,
    /// The last copy of the managers' intent.
    IntentCopy,
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
        serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
            path: self.path.to_path_buf(),
            cause: format!("the value of {}: {error}", key.name()),
        })
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

/// Opens the file for its owner alone: it holds private keys.
pub(crate) fn open_private(dir: &Path, path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    // So that the file itself is there after a loss of power, not only what is in it.
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Opens a database and checks all of it, so that later reads meet sound pages only.
pub(crate) fn checked_database(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, StoreError> {
    // redb takes a page whose checksum nobody has checked yet at its word, and panics where that is wrong.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut database = open()?;
        database.check_integrity()?;
        Ok(database)
    }));
    match opened {
        Ok(outcome) => outcome.map_err(|error| open_failed(path, error)),
        Err(_) => {
            Err(StoreError::Damaged { path: path.to_owned(), cause: "its pages are in disorder".to_owned() })
        }
    }
}

pub(crate) fn open_failed(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Busy { path: path.to_owned() },
        error => failed(path, error.into()),
    }
}

pub(crate) fn failed(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        // redb reports a file that is no database as an I/O error of this kind.
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            StoreError::Io { path, cause: error.to_string() }
        }
        error @ redb::Error::PreviousIo => StoreError::Io { path, cause: error.to_string() },
        error => StoreError::Damaged { path, cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;

    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn values_survive_and_only_the_owner_reads_them() {
        let dir = scratch();
        let state = dir.path().join("state");
        let store = Store::open(&state).unwrap();
        assert_eq!(store.get::<String>(Key::Identity).unwrap(), None);
        store.put(Key::Identity, &"me").unwrap();
        store.put(Key::GuardMark, &7_u32).unwrap();
        store.remove(Key::GuardMark).unwrap();
        drop(store);

        let store = Store::open(&state).unwrap();
        assert_eq!(store.get::<String>(Key::Identity).unwrap().as_deref(), Some("me"));
        assert_eq!(store.get::<u32>(Key::GuardMark).unwrap(), None);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join(FILE)), 0o600);
    }

    /// Memory that takes nothing while it is full.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        full: Arc<AtomicBool>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let offset = offset as usize;
            out.copy_from_slice(&self.bytes.lock().unwrap()[offset..offset + out.len()]);
            Ok(())
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.bytes.lock().unwrap().resize(length as usize, 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let offset = offset as usize;
            self.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_was_full_is_used_again() {
        let disk = Disk::default();
        let opened = disk.clone();
        let open = move || {
            checked_database(Path::new("disk"), || Database::builder().create_with_backend(opened.clone()))
        };
        let store = Store::opened_by(open, Path::new("disk")).unwrap();
        store.put(Key::GuardMark, &1_u32).unwrap();
        disk.full.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            let error = store.put(Key::GuardMark, &2_u32).unwrap_err();
            assert!(matches!(error, StoreError::Io { .. }), "{error}");
        }
        disk.full.store(false, Ordering::Relaxed);
        assert_eq!(store.get(Key::GuardMark).unwrap(), Some(1_u32));
        store.put(Key::GuardMark, &3_u32).unwrap();
        assert_eq!(store.get(Key::GuardMark).unwrap(), Some(3_u32));
    }

    #[test]
    fn a_second_agent_is_told_that_the_store_is_in_use() {
        let dir = scratch();
        let first = Store::open(dir.path()).unwrap();
        let Err(error) = Store::open(dir.path()) else { panic!("opened twice") };
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
        drop(first);
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn changes_of_a_failed_batch_leave_no_trace() {
        let dir = scratch();
        let store = Store::open(dir.path()).unwrap();
        store.put(Key::GuardMark, &1_u32).unwrap();
        let outcome = store.write(|batch| {
            batch.put(Key::GuardMark, &2_u32)?;
            batch.put(Key::Identity, &"half")?;
            batch.get::<String>(Key::GuardMark)
        });
        assert!(matches!(outcome, Err(StoreError::Damaged { .. })));
        assert_eq!(store.get::<u32>(Key::GuardMark).unwrap(), Some(1));
        assert_eq!(store.get::<String>(Key::Identity).unwrap(), None);
    }

    #[test]
    fn generations_rise_even_when_the_clock_goes_back() {
        let dir = scratch();
        let next = |now| Store::open(dir.path()).unwrap().next_generation(now).unwrap();
        assert_eq!(next(1000), 1000);
        assert_eq!(next(2000), 2000);
        assert_eq!(next(500), 2001);
        assert_eq!(next(500), 2002);
        assert_eq!(next(3000), 3000);
    }

    #[test]
    fn a_file_that_is_no_store_is_called_damaged() {
        let dir = scratch();
        for content in [vec![0; 8192], b"not a store".to_vec(), vec![0xa5; 1 << 20]] {
            std::fs::write(dir.path().join(FILE), &content).unwrap();
            let Err(error) = Store::open(dir.path()) else { panic!("opened {} bytes", content.len()) };
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_and_never_a_panic() {
        let dir = scratch();
        let path = dir.path().join(FILE);
        let store = Store::open(dir.path()).unwrap();
        store.put(Key::IntentCopy, &"x".repeat(20_000)).unwrap();
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        let used = whole.len().min(200 * 1024);
        let mut damaged: Vec<Vec<u8>> = (0..used)
            .step_by(2039)
            .map(|at| {
                let mut bytes = whole.clone();
                bytes[at..(at + 64).min(used)].iter_mut().for_each(|byte| *byte ^= 0xff);
                bytes
            })
            .collect();
        damaged.extend((0..whole.len()).step_by(whole.len() / 16).map(|length| whole[..length].to_vec()));
        for bytes in damaged {
            std::fs::write(&path, bytes).unwrap();
            // Damage to a page that is not in use does no harm.
            match Store::open(dir.path()) {
                Ok(store) => {
                    let kept = store.get::<String>(Key::IntentCopy).unwrap();
                    assert!(kept.is_none_or(|kept| kept == "x".repeat(20_000)));
                }
                Err(error) => assert!(!matches!(error, StoreError::Busy { .. }), "{error}"),
            }
        }
    }
}
