//! The storage under the Raft library's own suite, and over restarts.

use std::io::Cursor;

use openraft::storage::RaftLogStorage as _;
use openraft::testing::{StoreBuilder, Suite};
use openraft::{EmptyNode, Entry, StorageError, TokioRuntime, Vote};
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
        Ok((dir, LogStore::new(u64::MAX, journal), machine))
    }
}

#[test]
fn the_storage_is_what_the_library_expects() {
    Suite::test_all(OnDisk).unwrap();
}

#[tokio::test]
async fn a_leader_that_restarts_has_to_be_elected_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::<Numbered>::new(1, Journal::open(dir.path()).unwrap());
    store.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new(3, 1)), "it has voted for itself");
    store.save_vote(&Vote::new_committed(4, 2)).await.unwrap();
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new_committed(4, 2)), "another one leads");
}
