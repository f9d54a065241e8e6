//! The invariants that the module states, as properties of random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::model::{Endpoint, EndpointId, Labels, MacAddr, NetworkId, NodeId};

const OWNER: NodeId = NodeId::from_bytes([1; 16]);
const HOLDERS: usize = 3;
/// These are in every statement; the others come and go.
const ALWAYS: [u8; 2] = [0, 1];
const LIMIT: usize = 180;

fn holder(index: usize) -> NodeId {
    NodeId::from_bytes([10 + index as u8; 16])
}

fn alive() -> BTreeSet<NodeId> {
    (0..HOLDERS).map(holder).chain([OWNER]).collect()
}

fn fact() -> NodeFact {
    NodeFact { vtep: Ipv4Addr::LOCALHOST.into(), underlay_mtu: 1500, version: String::new() }
}

/// An endpoint whose address is the number of the statement that last changed it.
fn endpoint(id: u8, content: u32) -> Endpoint {
    Endpoint {
        id: EndpointId::from_bytes([id; 16]),
        network: NetworkId::from_bytes([9; 16]),
        name: "endpoint".parse().unwrap(),
        mac: MacAddr::local_from([id; 6]),
        ip4: Some(Ipv4Addr::from_bits(content)),
        ip6: None,
        aliases: vec![],
        labels: Labels::new(),
        forward: false,
        service: None,
    }
}

fn content(endpoint: &Endpoint) -> u32 {
    endpoint.ip4.unwrap().to_bits()
}

/// What two nodes do in an exchange.
fn exchange(initiator: &mut Store, responder: &mut Store) {
    let alive = alive();
    let buckets = differing(&initiator.digest(&alive), &responder.digest(&alive));
    let theirs = responder.versions(buckets, &alive);
    let (mine, deltas) = (initiator.versions(buckets, &alive), initiator.deltas(buckets, &theirs, &alive));
    deltas.into_iter().for_each(|delta| _ = responder.merge(delta));
    let deltas = responder.deltas(buckets, &mine, &alive);
    deltas.into_iter().for_each(|delta| _ = initiator.merge(delta));
}

#[derive(Debug, Clone)]
enum Step {
    /// The owner states [`ALWAYS`] and these, of which the flagged ones (and of `ALWAYS` the flagged) are new.
    State { others: BTreeSet<u8>, changed: BTreeSet<u8> },
    /// The owner boots, and states these.
    Restart { others: BTreeSet<u8> },
    /// A delta made at any time reaches a holder, perhaps again.
    Deliver { delta: Index, to: usize },
    /// The owner answers a pull of any range.
    Answer { range: (Index, Index), to: usize },
    /// Two holders, or a holder and the owner (the last index).
    Exchange(usize, usize),
    /// Half an hour passes for a holder or the owner.
    Expire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = || prop::collection::btree_set(2u8..8, 0..5);
    let changed = prop::collection::btree_set(0u8..8, 0..4);
    let step = prop_oneof![
        4 => (ids(), changed).prop_map(|(others, changed)| Step::State { others, changed }),
        1 => ids().prop_map(|others| Step::Restart { others }),
        8 => (any::<Index>(), 0..HOLDERS).prop_map(|(delta, to)| Step::Deliver { delta, to }),
        3 => (any::<(Index, Index)>(), 0..HOLDERS).prop_map(|(range, to)| Step::Answer { range, to }),
        2 => (0..HOLDERS, 0..=HOLDERS).prop_map(|(a, b)| Step::Exchange(a, b)),
        2 => (0..=HOLDERS).prop_map(Step::Expire),
    ];
    prop::collection::vec(step, 1..80)
}

/// An owner, its holders, and what the network may still deliver.
struct World {
    owner: Store,
    generation: u64,
    holders: Vec<Store>,
    network: Vec<Delta>,
    stated: BTreeMap<u8, u32>,
    statements: u32,
    /// By generation: each endpoint's changes, by version.
    history: BTreeMap<u64, BTreeMap<u64, (u8, Option<u32>)>>,
    /// All that the owner stated, by generation and version.
    words: BTreeMap<(u64, u64), Vec<u8>>,
    clocks: [Duration; HOLDERS + 1],
    /// The endpoints of [`ALWAYS`] that each holder has shown.
    seen: [BTreeSet<u8>; HOLDERS],
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            owner: Store::new(OWNER, 1),
            generation: 1,
            holders: (0..HOLDERS).map(|index| Store::new(holder(index), 1)).collect(),
            network: Vec::new(),
            stated: BTreeMap::new(),
            statements: 0,
            history: BTreeMap::new(),
            words: BTreeMap::new(),
            clocks: [Duration::ZERO; HOLDERS + 1],
            seen: Default::default(),
        };
        world.state(&BTreeSet::new(), &BTreeSet::new());
        world
    }

    fn state(&mut self, others: &BTreeSet<u8>, changed: &BTreeSet<u8>) {
        self.statements += 1;
        let wanted: BTreeSet<u8> = ALWAYS.into_iter().chain(others.iter().copied()).collect();
        self.stated.retain(|id, _| wanted.contains(id) && !changed.contains(id));
        for id in wanted {
            self.stated.entry(id).or_insert(self.statements);
        }
        let endpoints: Vec<_> = self.stated.iter().map(|(id, content)| endpoint(*id, *content)).collect();
        let from = self.owner.head();
        let Some(delta) = self.owner.state(&fact(), &endpoints) else { return };
        let history = self.history.entry(self.generation).or_default();
        for record in delta.records.iter().filter(|record| record.key.kind == endpoint::KIND) {
            let content =
                record.body.as_ref().map(|body| content(&endpoint::decode(&record.key, body).unwrap()));
            history.insert(record.version, (record.key.id[0], content));
        }
        self.network.extend(self.owner.own_chunks(from, self.owner.head(), LIMIT));
        self.network.push(delta);
        let (version, word) = self.owner.statement(OWNER).unwrap();
        self.words.insert((version.generation, version.mark), word);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::State { others, changed } => self.state(&others, &changed),
            Step::Restart { others } => {
                self.generation += 1;
                self.owner = Store::new(OWNER, self.generation);
                self.state(&others, &BTreeSet::new());
            }
            Step::Deliver { delta, to } => {
                let delta = delta.get(&self.network).clone();
                self.holders[to].merge(delta);
            }
            Step::Answer { range: (a, b), to } => {
                let head = self.owner.head() as usize;
                let (a, b) = (a.index(head + 1) as u64, b.index(head + 1) as u64);
                for delta in self.owner.own_chunks(a.min(b), a.max(b), LIMIT) {
                    self.holders[to].merge(delta.clone());
                    self.network.push(delta);
                }
            }
            Step::Exchange(a, b) => self.exchange(a, b),
            Step::Expire(index) => {
                self.clocks[index] += KEEP / 2;
                let store = if index == HOLDERS { &mut self.owner } else { &mut self.holders[index] };
                store.expire(self.clocks[index], &alive());
            }
        }
    }

    fn exchange(&mut self, a: usize, b: usize) {
        if b == HOLDERS {
            exchange(&mut self.holders[a], &mut self.owner);
        } else if let Ok([a, b]) = self.holders.get_disjoint_mut([a, b]) {
            exchange(a, b);
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for (holder, seen) in self.holders.iter().zip(&mut self.seen) {
            let Some(version) = holder.version(OWNER) else { continue };
            if let Some((version, word)) = holder.statement(OWNER) {
                let owners = &self.words[&(version.generation, version.mark)];
                prop_assert_eq!(&word, owners, "not the owner's word at {:?}", version);
            }
            let view = holder.view(&alive());
            let shown: BTreeMap<u8, u32> =
                view.endpoints().map(|(_, it)| (it.id.as_bytes()[0], content(it))).collect();
            seen.extend(ALWAYS.into_iter().filter(|id| shown.contains_key(id)));
            prop_assert!(seen.iter().all(|id| shown.contains_key(id)), "flap: {:?}, had {:?}", shown, seen);
            let history = &self.history[&version.generation];
            for id in shown.keys() {
                let last = history.iter().rfind(|(_, (changed, _))| changed == id);
                let gone =
                    last.filter(|(number, (_, content))| content.is_none() && **number <= version.mark);
                prop_assert!(gone.is_none(), "endpoint {} was deleted, but is shown at {:?}", id, version);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Loss, reordering, duplication, restarts and dropped tombstones: nothing flaps or comes back on the way, and in
    /// the end everyone shows what the owner states, and nothing else.
    #[test]
    fn any_history_ends_in_agreement(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check()?;
        }
        // Any chain of exchanges will do; here only the first holder meets the owner.
        world.exchange(0, HOLDERS);
        world.check()?;
        for index in 1..HOLDERS {
            world.exchange(index, index - 1);
            world.check()?;
        }
        let wanted = world.owner.view(&alive());
        for holder in &world.holders {
            prop_assert_eq!(&holder.view(&alive()), &wanted);
            prop_assert_eq!(holder.gaps().count(), 0);
            prop_assert_eq!(holder.digest(&alive()), world.owner.digest(&alive()));
        }
    }

    /// Within a generation, merging is commutative, associative and idempotent.
    #[test]
    fn order_and_repetition_do_not_matter(
        steps in steps(),
        chosen in prop::collection::vec(any::<Index>(), 0..30),
        orders in any::<(u64, u64)>(),
    ) {
        let mut world = World::new();
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Restart { .. })) {
            world.step(step);
        }
        let chosen: Vec<&Delta> = chosen.iter().map(|index| index.get(&world.network)).collect();
        let merged = |seed: u64, times: usize| {
            let mut store = Store::new(holder(0), 1);
            let mut deltas = chosen.repeat(times);
            deltas.sort_by_cached_key(|delta| {
                digest::buckets([Version { owner: OWNER, generation: seed, mark: delta.from ^ delta.to << 8 }].into_iter())
            });
            deltas.into_iter().for_each(|delta| _ = store.merge(delta.clone()));
            store
        };
        let (one, other) = (merged(orders.0, 1), merged(orders.1, 2));
        prop_assert_eq!(one.view(&alive()), other.view(&alive()));
        prop_assert_eq!(one.version(OWNER), other.version(OWNER));
        prop_assert!(one.gaps().eq(other.gaps()));
    }
}

#[test]
fn a_gap_is_named_and_its_answer_fills_it() {
    let mut owner = Store::new(OWNER, 1);
    let mut other = Store::new(holder(0), 1);
    let mut deltas = (0..4).map(|id| {
        let endpoints: Vec<_> = (0..=id).map(|id| endpoint(id, 1)).collect();
        owner.state(&fact(), &endpoints).unwrap()
    });
    let (first, lost, third, last) =
        (deltas.next().unwrap(), deltas.next().unwrap(), deltas.next().unwrap(), deltas.next().unwrap());
    drop(deltas);
    assert_eq!(other.merge(first.clone()), Outcome { changed: true, pull: None });
    let pull = Pull { owner: OWNER, generation: 1, from: first.to, to: third.from };
    assert_eq!(other.merge(third), Outcome { changed: true, pull: Some(pull) });
    assert_eq!(other.view(&alive()).endpoint_count(), 2, "what lies beyond the gap is shown");
    assert_eq!(other.merge(last).pull, Some(pull));
    let answer = owner.own_chunks(pull.from, pull.to, LIMIT);
    assert_eq!(answer, [Delta { head: owner.head(), ..lost }]);
    assert_eq!(other.merge(answer[0].clone()), Outcome { changed: true, pull: None });
    assert_eq!(other.view(&alive()), owner.view(&alive()));
    assert_eq!(other.merge(answer[0].clone()), Outcome::default());
}

#[test]
fn unknown_types_are_kept_and_passed_on_and_skipped_in_the_view() {
    let key = Key { kind: 200, id: [3; 16] };
    let record = Record { key, version: 1, body: Some(vec![1, 2, 3]) };
    let delta =
        Delta { owner: OWNER, generation: 1, head: 1, floor: 0, from: 0, to: 1, records: vec![record] };
    let mut one = Store::new(holder(0), 1);
    assert!(one.merge(delta.clone()).changed);
    assert_eq!(one.view(&alive()), View::default());
    assert_eq!(one.deltas(u64::MAX, &[], &alive()), [delta]);
}

#[test]
fn nobody_else_states_my_facts_and_unsound_deltas_are_ignored() {
    let mut store = Store::new(OWNER, 1);
    let delta = |owner| Delta { owner, generation: 5, head: 3, floor: 0, from: 0, to: 3, records: vec![] };
    assert_eq!(store.merge(delta(OWNER)), Outcome::default());
    let sound = delta(holder(0));
    let record = |version| Record { key: node::KEY, version, body: None };
    for unsound in [
        Delta { from: 4, ..sound.clone() },
        Delta { head: 2, ..sound.clone() },
        Delta { from: 1, floor: 2, ..sound.clone() },
        Delta { floor: 4, ..sound.clone() },
        Delta { records: vec![record(4)], ..delta(holder(0)) },
        Delta { from: 1, records: vec![record(1)], ..delta(holder(0)) },
    ] {
        assert_eq!(store.merge(unsound.clone()), Outcome::default(), "{unsound:?}");
        assert_eq!(store.version(holder(0)), None);
    }
    store.merge(sound);
    assert_eq!(store.version(holder(0)).map(|version| version.mark), Some(3));
}

#[test]
fn an_oversized_record_leaves_a_gap_that_an_exchange_fills() {
    let mut owner = Store::new(OWNER, 1);
    let mut large = endpoint(2, 1);
    large.labels.insert("note".to_owned(), "x".repeat(2000));
    owner.state(&fact(), &[endpoint(1, 1), large, endpoint(3, 1)]);
    let chunks = owner.own_chunks(0, owner.head(), 1300);
    assert!(chunks.iter().all(|chunk| postcard::to_stdvec(chunk).unwrap().len() <= 1300));
    let mut other = Store::new(holder(0), 1);
    let outcomes: Vec<Outcome> = chunks.into_iter().map(|chunk| other.merge(chunk)).collect();
    let gap = outcomes.last().unwrap().pull.unwrap();
    assert_eq!((gap.from, gap.to), (2, 3));
    assert_eq!(other.view(&alive()).endpoint_count(), 2);
    exchange(&mut other, &mut owner);
    assert_eq!(other.view(&alive()), owner.view(&alive()));
}

#[test]
fn the_dead_are_hidden_at_once_not_handed_on_and_forgotten_after_an_hour() {
    let mut owner = Store::new(OWNER, 1);
    let mut other = Store::new(holder(0), 1);
    other.merge(owner.state(&fact(), &[endpoint(1, 1)]).unwrap());
    let without: BTreeSet<NodeId> = [holder(0)].into();
    assert_eq!(other.view(&without), View::default());
    assert_eq!(other.deltas(u64::MAX, &[], &without), []);
    assert_eq!(other.digest(&without), Store::new(holder(1), 1).digest(&without));
    other.expire(Duration::from_secs(10), &without);
    other.expire(KEEP, &without);
    assert_eq!(other.view(&alive()), owner.view(&alive()), "back in time");
    other.expire(KEEP + Duration::from_secs(10), &without);
    assert_eq!(other.version(OWNER), None);
}
