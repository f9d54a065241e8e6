use std::collections::BTreeMap;

use super::*;

/// Under number 1.
const OLD: [u8; 32] = [7; 32];
/// Under number 2.
const NEW: [u8; 32] = [8; 32];

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn old() -> Keys {
    Keys::one(1, OLD)
}

/// Both, of which that one seals.
fn both(current: u8) -> Keys {
    Keys::new(current, BTreeMap::from([(1, OLD), (2, NEW)])).unwrap()
}

fn new() -> Keys {
    Keys::one(2, NEW)
}

fn pair() -> (Sealer, Opener) {
    (Sealer::new(&old(), node(1), 5), Opener::new(old()))
}

#[test]
fn what_is_sealed_opens_once() {
    let (mut sealer, mut opener) = pair();
    let mut datagram = sealer.seal(b"hello");
    assert_eq!(opener.open(&mut datagram.clone()), Ok((node(1), &b"hello"[..])));
    assert_eq!(opener.open(&mut datagram), Err(Refusal::Replayed));
}

#[test]
fn the_largest_payload_fits_and_no_more() {
    let (mut sealer, mut opener) = pair();
    let mut datagram = sealer.seal(&[0; MAX_PAYLOAD]);
    assert_eq!(datagram.len(), MAX_DATAGRAM);
    assert!(opener.open(&mut datagram).is_ok());
    assert_eq!(opener.open(&mut sealer.seal(&[0; MAX_PAYLOAD + 1])), Err(Refusal::Oversized));
}

#[test]
fn every_altered_byte_is_noticed() {
    let (mut sealer, mut opener) = pair();
    let mut datagram = sealer.seal(b"hello");
    for position in 0..datagram.len() {
        let mut altered = datagram.clone();
        altered[position] ^= 1;
        assert!(opener.open(&mut altered).is_err(), "byte {position}");
    }
    for length in 0..datagram.len() {
        assert!(opener.open(&mut datagram[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert!(opener.open(&mut datagram).is_ok(), "what was refused changed nothing");
}

#[test]
fn another_clusters_key_opens_nothing() {
    let (mut sealer, _) = pair();
    assert_eq!(Opener::new(Keys::one(1, NEW)).open(&mut sealer.seal(b"hello")), Err(Refusal::Forged));
}

#[test]
fn an_older_boot_is_refused_and_a_newer_one_starts_afresh() {
    let (mut earlier, mut opener) = pair();
    let mut first = earlier.seal(b"old");
    let mut later = Sealer::new(&old(), node(1), 6);
    assert!(opener.open(&mut first).is_ok());
    assert!(opener.open(&mut later.seal(b"new")).is_ok(), "the same counter, but another boot");
    assert_eq!(opener.open(&mut earlier.seal(b"old")), Err(Refusal::Stale));
}

#[test]
fn keys_that_overlap_lose_nothing() {
    let (mut sealer, mut opener) = pair();
    let mut under_way = sealer.seal(b"1");
    opener.set_keys(both(1));
    assert!(opener.open(&mut sealer.seal(b"2")).is_ok(), "the sender does not hold the new key yet");
    sealer.set_keys(&both(2));
    assert!(opener.open(&mut sealer.seal(b"3")).is_ok(), "the receiver does not seal with it yet");
    opener.set_keys(both(2));
    assert!(opener.open(&mut under_way).is_ok(), "sealed with the old key, and late");
    sealer.set_keys(&new());
    assert!(opener.open(&mut sealer.seal(b"4")).is_ok(), "the receiver still holds the old one");
    opener.set_keys(new());
    assert!(opener.open(&mut sealer.seal(b"5")).is_ok());
}

#[test]
fn what_was_recorded_opens_neither_before_nor_after_its_key_is_dropped() {
    let (mut sealer, mut opener) = pair();
    let mut stolen = sealer.seal(b"seen");
    let mut unseen = sealer.seal(b"unseen");
    assert!(opener.open(&mut stolen.clone()).is_ok());
    opener.set_keys(both(2));
    sealer.set_keys(&both(2));
    assert!(opener.open(&mut sealer.seal(b"newer")).is_ok());
    assert_eq!(opener.open(&mut stolen.clone()), Err(Refusal::Replayed));
    opener.set_keys(new());
    assert_eq!(opener.open(&mut stolen), Err(Refusal::UnknownKey));
    assert_eq!(opener.open(&mut unseen), Err(Refusal::UnknownKey));
}

#[test]
fn a_member_silences_another_no_longer_than_it_knows_the_key() {
    // In another's boot, and as a later boot of it.
    for boot in [5, u64::MAX] {
        let (mut victim, mut opener) = pair();
        let mut thief = Sealer::new(&old(), node(1), boot);
        thief.counter = u64::MAX - 1;
        assert!(opener.open(&mut thief.seal(b"forged")).is_ok(), "every member can derive every key");
        assert!(opener.open(&mut victim.seal(b"1")).is_err(), "nobody can tell who it was");
        opener.set_keys(both(1));
        opener.set_keys(both(2));
        victim.set_keys(&both(2));
        assert_eq!(opener.open(&mut victim.seal(b"2")), Ok((node(1), &b"2"[..])));
        opener.set_keys(new());
        assert!(opener.open(&mut victim.seal(b"3")).is_ok());
    }
}

#[test]
fn the_intents_nodes_are_heard_however_many_others_are() {
    let mut opener = Opener::new(old());
    opener.set_members(BTreeSet::from([node(1)]));
    let name = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(id)
    };
    let room = u32::try_from(MOST_STRANGERS + 1).unwrap();
    let mut said = (0..2 * room).map(|number| Sealer::new(&old(), name(number), 1).seal(b"hello"));
    assert!(said.by_ref().take(room as usize).all(|mut datagram| opener.open(&mut datagram).is_ok()));
    assert!(said.all(|mut datagram| opener.open(&mut datagram) == Err(Refusal::Stranger)));
    assert!(opener.open(&mut Sealer::new(&old(), node(1), 5).seal(b"hello")).is_ok());
    assert!(opener.open(&mut Sealer::new(&old(), name(0), 2).seal(b"again")).is_ok());
    assert_eq!(opener.heard[&1].len(), MOST_STRANGERS + 2);
}

#[test]
fn a_counter_is_never_used_twice_in_a_boot() {
    let (mut sealer, _) = pair();
    let mut counters = Vec::new();
    for keys in [old(), both(1), both(2), new(), both(2), both(1), old()] {
        sealer.set_keys(&keys);
        let datagram = sealer.seal(b"hello");
        assert_eq!(datagram[1], keys.current());
        counters.push(integer(&datagram[26..34]));
    }
    assert_eq!(counters, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn another_key_under_the_same_number_takes_its_place() {
    let (mut sealer, mut opener) = pair();
    assert!(opener.open(&mut sealer.seal(b"hello")).is_ok());
    let replaced = Keys::one(1, NEW);
    opener.set_keys(replaced.clone());
    assert_eq!(opener.open(&mut sealer.seal(b"hello")), Err(Refusal::Forged));
    sealer.set_keys(&replaced);
    assert!(opener.open(&mut sealer.seal(b"hello")).is_ok());

    opener.set_keys(new());
    opener.set_keys(old());
    sealer.set_keys(&old());
    assert!(opener.open(&mut sealer.seal(b"hello")).is_ok(), "it was away in between");
}

#[test]
fn who_has_not_the_new_key_is_out() {
    let (mut left_behind, mut opener) = pair();
    opener.set_keys(new());
    assert_eq!(opener.open(&mut left_behind.seal(b"hello")), Err(Refusal::UnknownKey));
    let mut sealer = Sealer::new(&new(), node(2), 5);
    assert_eq!(Opener::new(old()).open(&mut sealer.seal(b"hello")), Err(Refusal::UnknownKey));
}
