//! The state machine, with somebody who writes down what it does.

use std::io::Cursor;

use openraft::storage::RaftStateMachine;
use openraft::{EmptyNode, LogId, OptionalSend, Snapshot, SnapshotMeta, StorageError, StoredMembership};
use overlay::model::NodeId;

use super::history::History;
use super::runtime::Simulated;
use crate::manager::raft::machine::{Builder, Machine};
use crate::manager::raft::types::Answer;

pub(super) struct Observed {
    machine: Machine<Simulated>,
    history: History,
}

impl Observed {
    pub(super) const fn new(machine: Machine<Simulated>, history: History) -> Self {
        Self { machine, history }
    }
}

type Failed = StorageError<NodeId>;

impl RaftStateMachine<Simulated> for Observed {
    type SnapshotBuilder = Builder<Simulated>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, EmptyNode>), Failed> {
        self.machine.applied_state().await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, Failed>
    where
        I: IntoIterator<Item = openraft::Entry<Simulated>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let answers = self.machine.apply(entries.clone()).await?;
        self.history.applied(entries, &answers, self.machine.state());
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<Simulated> {
        self.machine.get_snapshot_builder().await
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failed> {
        self.machine.begin_receiving_snapshot().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failed> {
        self.machine.install_snapshot(meta, snapshot).await?;
        if let Some(last) = &meta.last_log_id {
            self.history.holds(last.index, self.machine.state());
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Simulated>>, Failed> {
        self.machine.get_current_snapshot().await
    }
}
