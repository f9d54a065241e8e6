//! The storage under the Raft library's own suite, and over restarts.

use std::io::Cursor;

use openraft::testing::{StoreBuilder, Suite};
use openraft::{EmptyNode, Entry, StorageError, TokioRuntime};
use overlay::intent::Command;
use tempfile::TempDir;

use super::journal::Journal;
use super::machine::Machine;
use super::store::LogStore;
use super::types::Answer;

openraft::declare_raft_types!(
    /// The suite's nodes are numbers.
    Numbered:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = EmptyNode,
        Entry = Entry<Numbered>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime,
);

struct OnDisk;

impl StoreBuilder<Numbered, LogStore<Numbered>, Machine<Numbered>, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore<Numbered>, Machine<Numbered>), StorageError<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let machine = Machine::open(journal.clone()).unwrap();
        Ok((dir, LogStore::new(journal), machine))
    }
}

#[test]
fn the_storage_is_what_the_library_expects() {
    Suite::test_all(OnDisk).unwrap();
}
