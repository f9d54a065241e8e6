//! Commands and reads: the leader carries them out, and any other manager hands them to it, once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use overlay::intent::Command;
use overlay::model::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::links::Links;
use super::role::{Role, Running, leader};
use super::types::Answer;
use crate::manager::client::ClientError;
use crate::manager::wire::{RAFT_PROPOSE, RAFT_READ, READ, Standing};

/// How long a command or read may take. An election takes half of it.
pub(super) const LIMIT: Duration = Duration::from_millis(4500);
/// How long after a leader did not answer it is asked again, or its successor.
const AGAIN: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// This node does not hold the intent; a manager does.
    #[error("this node is no manager")]
    NoManager,
    /// Surely nothing was changed, and it may be asked of another manager.
    #[error("{0}")]
    NotTaken(String),
    /// It may yet be changed.
    #[error("{0}; the change may yet be made")]
    Unknown(String),
    /// It would leave the managers without a majority.
    #[error("{0}")]
    Unsafe(String),
}

impl Unanswered {
    /// As a status of the manager API.
    pub(in crate::manager) const fn status(&self) -> StatusCode {
        match self {
            Self::NoManager => StatusCode::NOT_FOUND,
            Self::NotTaken(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unsafe(_) => StatusCode::CONFLICT,
        }
    }
}

impl Role {
    /// Has the leader carry a command out.
    ///
    /// # Errors
    /// [`Unanswered`], within a few seconds.
    pub async fn propose(&self, command: &Command) -> Result<Answer, Unanswered> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let running = self.running()?;
            let leader = running.leader(deadline).await?;
            if leader == self.me {
                return running.commit(command, deadline).await;
            }
            match running.ask_leader(leader, RAFT_PROPOSE, command, deadline).await {
                Err(Unanswered::NotTaken(cause)) => running.pause(deadline, cause).await?,
                answer => return answer,
            }
        }
    }

    /// Carries a command out, if this manager is the leader.
    pub(super) async fn propose_here(&self, command: &Command) -> Result<Answer, Unanswered> {
        self.running_leader()?.commit(command, Instant::now() + LIMIT).await
    }

    /// How the managers stand now, with every change that was answered before.
    ///
    /// # Errors
    /// [`Unanswered::NotTaken`], within a few seconds.
    pub async fn read(&self) -> Result<Standing, Unanswered> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let running = self.running()?;
            let leader = running.leader(deadline).await?;
            let standing = if leader == self.me {
                running.stand(self.me, deadline).await
            } else {
                running.ask_leader(leader, RAFT_READ, &(), deadline).await
            };
            match standing {
                Ok(standing) => return Ok(standing),
                Err(error) => running.pause(deadline, error.to_string()).await?,
            }
        }
    }

    /// As [`Role::read`], if this manager is the leader.
    pub(super) async fn read_here(&self) -> Result<Standing, Unanswered> {
        self.running_leader()?.stand(self.me, Instant::now() + LIMIT).await
    }

    fn running_leader(&self) -> Result<Running, Unanswered> {
        let running = self.running()?;
        let leads = leader(&running.raft.metrics().borrow()) == Some(self.me);
        if leads {
            Ok(running)
        } else {
            Err(Unanswered::NotTaken("this manager is not the leader".to_owned()))
        }
    }
}

impl Running {
    /// The leader, as soon as this manager knows one.
    async fn leader(&self, deadline: Instant) -> Result<NodeId, Unanswered> {
        let mut metrics = self.raft.metrics();
        let known = metrics.wait_for(|metrics| leader(metrics).is_some());
        let known = timeout_at(deadline, known).await.ok().and_then(Result::ok);
        known.and_then(|metrics| leader(&metrics)).ok_or_else(|| Unanswered::NotTaken(self.no_majority()))
    }

    async fn ask_leader<Q: Serialize, A: DeserializeOwned>(
        &self,
        leader: NodeId,
        path: &str,
        query: &Q,
        deadline: Instant,
    ) -> Result<A, Unanswered> {
        let name = || self.links.name(leader);
        match timeout_at(deadline, self.links.post(leader, path, query)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(
                error @ (ClientError::Connect(_) | ClientError::Untrusted(_) | ClientError::Excluded(_)),
            )) => Err(Unanswered::NotTaken(format!("the leader {} cannot be reached: {error}", name()))),
            Ok(Err(ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, cause })) => {
                Err(Unanswered::NotTaken(cause))
            }
            Ok(Err(ClientError::Status { status: StatusCode::CONFLICT, cause })) => {
                Err(Unanswered::Unsafe(cause))
            }
            Ok(Err(error)) => Err(Unanswered::Unknown(format!("the leader {}: {error}", name()))),
            Err(_) => Err(Unanswered::Unknown(format!("the leader {} does not answer", name()))),
        }
    }

    /// Before a question is asked again, if there is time.
    async fn pause(&self, deadline: Instant, cause: String) -> Result<(), Unanswered> {
        let next = Instant::now() + AGAIN;
        if next >= deadline {
            return Err(Unanswered::NotTaken(cause));
        }
        sleep_until(next).await;
        Ok(())
    }

    async fn commit(&self, command: &Command, deadline: Instant) -> Result<Answer, Unanswered> {
        let _alone = match taken_away(command) {
            None => None,
            Some(leaving) => {
                let alone = timeout_at(deadline, self.leaving.lock()).await;
                let alone = alone.map_err(|_| Unanswered::NotTaken(self.no_majority()))?;
                self.refuse_to_lose_the_majority(leaving)?;
                Some(alone)
            }
        };
        match timeout_at(deadline, self.raft.client_write(command.clone())).await {
            Ok(Ok(response)) => Ok(response.data),
            // The leader that it was may have told others of the command before it lost the lead.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(Unanswered::Unknown("this manager has just lost the lead".to_owned()))
            }
            Ok(Err(error)) => Err(Unanswered::Unknown(error.to_string())),
            Err(_) => Err(Unanswered::Unknown(self.no_majority())),
        }
    }

    async fn stand(&self, me: NodeId, deadline: Instant) -> Result<Standing, Unanswered> {
        match timeout_at(deadline, self.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => {}
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
                return Err(Unanswered::NotTaken("this manager is not the leader".to_owned()));
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => {
                return Err(Unanswered::NotTaken(self.no_majority()));
            }
            Ok(Err(error)) => return Err(Unanswered::NotTaken(error.to_string())),
        }
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters = membership.voter_ids().map(|id| (id, id == me || self.links.reaches(id))).collect();
        Ok(Standing {
            version: self.intent.borrow().version,
            leader: me,
            term: metrics.current_term,
            voters,
            learners: membership.learner_ids().collect(),
        })
    }

    /// Who decides, and which of them answer this manager.
    fn voters(&self) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let metrics = self.raft.metrics().borrow().clone();
        let voters: BTreeSet<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let heard = |id: &NodeId| *id == metrics.id || self.links.reaches(*id);
        let answering = voters.iter().copied().filter(heard).collect();
        (voters, answering)
    }

    /// A manager that is taken away must leave more than half of the others answering, of which those don't count that are
    /// on their way out already.
    fn refuse_to_lose_the_majority(&self, leaving: NodeId) -> Result<(), Unanswered> {
        let (voters, answering) = self.voters();
        if !voters.contains(&leaving) {
            return Ok(());
        }
        let intent = Arc::clone(&self.intent.borrow());
        let stays = |id: &&NodeId| **id != leaving && intent.is_manager(**id);
        let (left, answering) = (voters.iter().filter(stays).count(), answering.iter().filter(stays).count());
        if answering > left / 2 {
            return Ok(());
        }
        Err(Unanswered::Unsafe(format!(
            "of the {left} managers that would be left, only {answering} can be reached, which is no majority"
        )))
    }

    /// In a person's words.
    fn no_majority(&self) -> String {
        let (voters, answering) = self.voters();
        let silent: Vec<String> = voters.difference(&answering).map(|id| self.links.name(*id)).collect();
        let verb = if silent.len() == 1 { "does" } else { "do" };
        match silent.split_last() {
            None => "the managers have not agreed on a leader yet".to_owned(),
            Some((last, [])) => {
                format!("no majority of managers is reachable: {last} {verb} not answer")
            }
            Some((last, others)) => format!(
                "no majority of managers is reachable: {} and {last} {verb} not answer",
                others.join(", ")
            ),
        }
    }
}

/// The node that the command makes no manager any more, if it was one.
const fn taken_away(command: &Command) -> Option<NodeId> {
    match command {
        Command::SetRole { node: leaving, manager: false } | Command::RemoveNode { id: leaving, .. } => {
            Some(*leaving)
        }
        _ => None,
    }
}

impl Links {
    /// How the managers stand, as manager `of` learns from the leader.
    pub(super) async fn standing(&self, of: NodeId) -> Result<Standing, ClientError> {
        self.post(of, READ, &()).await
    }
}
