//! What the Raft library is put together of here. Store and state machine are generic in it, so that tests run them in
//! simulated time.

use std::io::Cursor;

use openraft::{AsyncRuntime, EmptyNode, Entry, RaftTypeConfig, TokioRuntime};
use overlay::intent::{Command, IntentError, Reply};
use overlay::model::NodeId;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The managers' types.
    pub Managers:
        D = Command,
        R = Answer,
        NodeId = NodeId,
        Node = EmptyNode,
        Entry = Entry<Managers>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime,
);

/// What a command came to, on every manager alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The version of the intent that has it.
    pub version: u64,
    /// Its reply, or why it was refused.
    pub outcome: Result<Reply, IntentError>,
}

/// A library's types that carry commands on intent. Where a node is, is looked up in the intent.
pub(crate) trait Types:
    RaftTypeConfig<
        D = Command,
        R = Answer,
        Node = EmptyNode,
        Entry = Entry<Self>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime: Offload,
    >
{
}

impl<C> Types for C where
    C: RaftTypeConfig<
            D = Command,
            R = Answer,
            Node = EmptyNode,
            Entry = Entry<C>,
            SnapshotData = Cursor<Vec<u8>>,
            AsyncRuntime: Offload,
        >
{
}

/// A runtime that has somewhere to do what blocks.
pub(crate) trait Offload: AsyncRuntime {
    /// Does `work` where it may block, to its end even if nobody waits for it; the error is a panic's.
    fn offload<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, String>> + Send;
}

impl Offload for TokioRuntime {
    async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
    }
}
