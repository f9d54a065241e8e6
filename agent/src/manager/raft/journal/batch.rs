//! Changes to the journal that are on the disk all, or none of them.

use std::ops::RangeBounds;

use redb::WriteTransaction;

use super::{Journal, LOG, VALUES, Value};
use crate::store::StoreError;

/// Changes that take effect together.
pub(super) struct Batch<'a> {
    pub(super) journal: &'a Journal,
    pub(super) transaction: &'a WriteTransaction,
}

impl Batch<'_> {
    pub(super) fn put(&mut self, value: Value, bytes: &[u8]) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(VALUES).map_err(|error| self.journal.failed(error))?;
        table.insert(value.name(), bytes).map_err(|error| self.journal.failed(error))?;
        Ok(())
    }

    pub(super) fn append(&mut self, entries: Vec<(u64, Vec<u8>)>) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(LOG).map_err(|error| self.journal.failed(error))?;
        for (index, bytes) in entries {
            table.insert(index, bytes.as_slice()).map_err(|error| self.journal.failed(error))?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, range: impl RangeBounds<u64>) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(LOG).map_err(|error| self.journal.failed(error))?;
        table
            .retain_in((range.start_bound().cloned(), range.end_bound().cloned()), |_, _| false)
            .map_err(|error| self.journal.failed(error))
    }
}
