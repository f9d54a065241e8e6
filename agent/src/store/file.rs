//! Files of redb: who may read them, what is checked when one is opened, and what its errors mean.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::panic::AssertUnwindSafe;
use std::path::Path;

use redb::{Database, DatabaseError};

use super::StoreError;

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
