//! What clients of the managers asked for and were told, and whether one machine that does one thing after the other
//! could have told them so (linearizability).

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, ensure};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

/// Something that may exist under a name, with a mark that its maker gave it. Names have nothing to do with one another, so
/// each has a history of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Thing(Option<u64>);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Make it, with that mark.
    Create(u64),
    /// Give it another mark.
    Mark(u64),
    /// Remove it.
    Remove,
    /// Say which mark it has.
    Look,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It was done.
    Done,
    /// It was there already.
    Exists,
    /// It was not there.
    Absent,
    /// It has that mark.
    Marked(u64),
}

impl SequentialSpec for Thing {
    type Op = Ask;
    type Ret = Told;

    fn invoke(&mut self, ask: &Ask) -> Told {
        match (*ask, self.0) {
            (Ask::Create(_), Some(_)) => Told::Exists,
            (Ask::Create(mark), None) | (Ask::Mark(mark), Some(_)) => {
                self.0 = Some(mark);
                Told::Done
            }
            (Ask::Remove, Some(_)) => {
                self.0 = None;
                Told::Done
            }
            (Ask::Look, Some(mark)) => Told::Marked(mark),
            (Ask::Mark(_) | Ask::Remove | Ask::Look, None) => Told::Absent,
        }
    }
}

/// An event at one of the clients: of a name's thing.
enum Event {
    Asked(Ask),
    Told(Told),
}

/// What happened, in the order in which it did.
#[derive(Default)]
pub(super) struct History {
    things: BTreeMap<String, Vec<(u64, Event)>>,
    asked: u64,
    answered: u64,
}

/// A question that was asked; it is answered at most once.
pub(super) struct Asked {
    thing: String,
    id: u64,
}

impl History {
    /// A client asks. Each question counts as a client's of its own: what follows an answer comes later all the same.
    pub(super) fn ask(&mut self, thing: &str, ask: Ask) -> Asked {
        self.asked += 1;
        let id = self.asked;
        self.things.entry(thing.to_owned()).or_default().push((id, Event::Asked(ask)));
        Asked { thing: thing.to_owned(), id }
    }

    /// It is told. Whoever is not told may have been heard, now or at any time later.
    pub(super) fn told(&mut self, asked: &Asked, told: Told) {
        self.answered += 1;
        self.things.entry(asked.thing.clone()).or_default().push((asked.id, Event::Told(told)));
    }

    /// It was surely not heard.
    pub(super) fn unheard(&mut self, asked: &Asked) {
        self.things.entry(asked.thing.clone()).or_default().retain(|(id, _)| *id != asked.id);
    }

    /// How many questions were asked, and how many of them answered.
    pub(super) const fn size(&self) -> (u64, u64) {
        (self.asked, self.answered)
    }

    /// Whether all of it could be one machine's doing.
    ///
    /// # Errors
    /// Whose history could not, and that history.
    pub(super) fn check(&self) -> Result<()> {
        for (name, events) in &self.things {
            let mut tester = LinearizabilityTester::new(Thing::default());
            for (id, event) in events {
                let outcome = match event {
                    Event::Asked(ask) => tester.on_invoke(*id, *ask),
                    Event::Told(told) => tester.on_return(*id, *told),
                };
                outcome.map_err(|error| anyhow!("{name}: {error}"))?;
            }
            ensure!(tester.is_consistent(), "{name} is not linearizable:\n{}", shown(events));
        }
        Ok(())
    }
}

fn shown(events: &[(u64, Event)]) -> String {
    let line = |(id, event): &(u64, Event)| match event {
        Event::Asked(ask) => format!("{id}: {ask:?}\n"),
        Event::Told(told) => format!("{id}:     {told:?}\n"),
    };
    events.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions with their answers, each before the next.
    fn told_in_turn(turns: &[(Ask, Told)]) -> History {
        let mut history = History::default();
        for (ask, told) in turns {
            let asked = history.ask("x", *ask);
            history.told(&asked, *told);
        }
        history
    }

    #[test]
    fn what_one_machine_does_is_fine() {
        let turns = [
            (Ask::Look, Told::Absent),
            (Ask::Create(1), Told::Done),
            (Ask::Create(2), Told::Exists),
            (Ask::Mark(3), Told::Done),
            (Ask::Look, Told::Marked(3)),
            (Ask::Remove, Told::Done),
            (Ask::Remove, Told::Absent),
        ];
        told_in_turn(&turns).check().unwrap();
    }

    #[test]
    fn a_lost_change_and_an_old_answer_are_found() {
        for turns in [
            &[(Ask::Create(1), Told::Done), (Ask::Look, Told::Absent)][..],
            &[(Ask::Create(1), Told::Done), (Ask::Mark(2), Told::Done), (Ask::Look, Told::Marked(1))],
            &[(Ask::Create(1), Told::Done), (Ask::Create(2), Told::Done)],
        ] {
            assert!(told_in_turn(turns).check().is_err(), "{turns:?}");
        }
    }

    #[test]
    fn who_is_not_told_may_have_been_heard_but_once() {
        let mut history = History::default();
        history.ask("x", Ask::Create(1));
        let asked = history.ask("x", Ask::Look);
        history.told(&asked, Told::Marked(1));
        history.check().unwrap();
        for told in [Told::Absent, Told::Marked(1)] {
            let asked = history.ask("x", Ask::Look);
            history.told(&asked, told);
        }
        assert!(history.check().is_err(), "it was made, gone and made again");
    }
}
