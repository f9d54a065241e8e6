//! What clients were answered and what managers applied, and whether the two agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::{Entry, EntryPayload, LogId};
use overlay::intent::{Command, Intent, State};
use overlay::model::NodeId;
use ring::digest::{SHA256, digest};

use super::given::Given;
use super::runtime::Simulated;
use crate::manager::raft::types::Answer;

/// What happened; clones share it.
#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    /// What managers applied, which is the order that there is.
    entries: BTreeMap<u64, Applied>,
    /// The digest of the state after an entry.
    states: BTreeMap<u64, Vec<u8>>,
    writes: Vec<Write>,
    reads: Vec<Read>,
    /// The newest intent, and the entry that made it.
    newest: (u64, Intent),
}

#[derive(Debug, PartialEq)]
struct Applied {
    log_id: LogId<NodeId>,
    command: Option<Command>,
    answer: Answer,
}

/// A command that was answered.
struct Write {
    asked: Duration,
    answered: Duration,
    index: u64,
    command: Command,
    answer: Answer,
}

/// A read that was answered.
struct Read {
    asked: Duration,
    answered: Duration,
    version: u64,
}

impl History {
    /// A manager applied these, which led to that state.
    pub(super) fn applied(&self, entries: Vec<Entry<Simulated>>, answers: &[Answer], state: &State) {
        let Some(last) = entries.last().map(|entry| entry.log_id.index) else { return };
        {
            let mut records = self.0.lock().unwrap();
            for (entry, answer) in entries.into_iter().zip(answers) {
                let command = match entry.payload {
                    EntryPayload::Normal(command) => Some(command),
                    EntryPayload::Blank | EntryPayload::Membership(_) => None,
                };
                let applied = Applied { log_id: entry.log_id, command, answer: answer.clone() };
                let index = applied.log_id.index;
                match records.entries.get(&index) {
                    Some(known) => assert_eq!(known, &applied, "managers applied different entries"),
                    None => drop(records.entries.insert(index, applied)),
                }
            }
        }
        self.holds(last, state);
    }

    /// A manager has this state after the entry at `index`.
    pub(super) fn holds(&self, index: u64, state: &State) {
        let now = digest(&SHA256, &postcard::to_stdvec(state).unwrap()).as_ref().to_vec();
        let mut records = self.0.lock().unwrap();
        let known = records.states.entry(index).or_insert_with(|| now.clone());
        assert_eq!(*known, now, "managers hold different states after entry {index}");
        if index > records.newest.0 {
            records.newest = (index, state.intent.clone());
        }
    }

    pub(super) fn wrote(
        &self,
        asked: Duration,
        answered: Duration,
        index: u64,
        command: Command,
        answer: Answer,
    ) {
        self.0.lock().unwrap().writes.push(Write { asked, answered, index, command, answer });
    }

    pub(super) fn read(&self, asked: Duration, answered: Duration, version: u64) {
        self.0.lock().unwrap().reads.push(Read { asked, answered, version });
    }

    /// Whether the answers are those of one machine that carries out one command after the other (linearizability). The log
    /// is the order; it has to be one that those who asked could have seen.
    pub(super) fn check(&self) {
        let records = self.0.lock().unwrap();
        for write in &records.writes {
            let applied = records.entries.get(&write.index).expect("an answered command is lost");
            assert_eq!(applied.command.as_ref(), Some(&write.command), "an answered command is lost");
            assert_eq!(applied.answer, write.answer, "a client was answered something else");
        }
        for (one, other) in pairs(&records.writes) {
            if one.answered < other.asked {
                assert!(one.index < other.index, "entry {} came after {}", one.index, other.index);
            }
        }
        for read in &records.reads {
            for write in &records.writes {
                if write.answered < read.asked {
                    assert!(write.answer.version <= read.version, "a read misses what was answered before");
                }
                if read.answered < write.asked && records.is_change(write) {
                    assert!(write.answer.version > read.version, "a read shows what was not asked for yet");
                }
            }
        }
        for (one, other) in pairs(&records.reads) {
            if one.answered < other.asked {
                assert!(one.version <= other.version, "a later read shows less");
            }
        }
        records.check_what_was_given();
    }

    /// Of all that happened, and when.
    pub(super) fn digest(&self) -> Vec<u8> {
        let records = self.0.lock().unwrap();
        let writes = records.writes.iter().map(|write| (write.asked, write.answered, write.index));
        let reads = records.reads.iter().map(|read| (read.asked, read.answered, read.version));
        let story: Vec<_> = writes.chain(reads).collect();
        digest(&SHA256, &postcard::to_stdvec(&(story, &records.states)).unwrap()).as_ref().to_vec()
    }

    /// How many commands and reads were answered.
    pub(super) fn size(&self) -> (usize, usize) {
        let records = self.0.lock().unwrap();
        (records.writes.len(), records.reads.len())
    }
}

impl Records {
    fn is_change(&self, write: &Write) -> bool {
        let before = self.entries.range(..write.index).next_back();
        before.is_some_and(|(_, before)| before.answer.version < write.answer.version)
    }

    /// Nothing is given twice, and no command carried out twice.
    fn check_what_was_given(&self) {
        let (mut given, mut seen) = (Given::default(), BTreeSet::new());
        for applied in self.entries.values() {
            let Some(command) = &applied.command else { continue };
            let id = match command {
                Command::CreateNetwork(network) => Some(network.id.to_string()),
                Command::CreateService(service) => Some(service.id.to_string()),
                _ => None,
            };
            assert!(id.is_none_or(|id| seen.insert(id)), "a command was carried out twice");
            if let Ok(reply) = &applied.answer.outcome {
                given.take(command, reply);
            }
        }
        given.check(&self.newest.1);
    }
}

fn pairs<T>(all: &[T]) -> impl Iterator<Item = (&T, &T)> {
    all.iter().flat_map(move |one| all.iter().map(move |other| (one, other)))
}
