use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SERVICE: ServiceId = ServiceId::from_bytes([7; 16]);

/// Backend `n` is in slot `n`, counted from 1.
fn endpoint(n: u32) -> EndpointId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    EndpointId::from_bytes(bytes)
}

fn members(weights: &[u16]) -> Members {
    let member = |(n, weight): (u32, &u16)| {
        let member = Member { slot: BackendSlot::new(n).unwrap(), weight: Weight::new(*weight).unwrap() };
        (endpoint(n), member)
    };
    (1..).zip(weights).map(member).collect()
}

fn counts(table: &[BackendSlot]) -> BTreeMap<BackendSlot, u32> {
    let mut counts = BTreeMap::new();
    for slot in table {
        *counts.entry(*slot).or_default() += 1;
    }
    counts
}

/// Of the places in `before` that are not `gone`'s, how many percent have another backend in `after`.
fn moved(before: &[BackendSlot], after: &[BackendSlot], gone: BackendSlot) -> f64 {
    let others = || before.iter().zip(after).filter(|(had, _)| **had != gone);
    others().filter(|(had, has)| had != has).count() as f64 * 100.0 / others().count() as f64
}

#[test]
fn all_nodes_and_releases_agree_on_this_table() {
    let numbers = |weights: &[u16], size| -> Vec<u32> {
        table(SERVICE, &members(weights), size).iter().map(|slot| slot.get()).collect()
    };
    assert_eq!(
        numbers(&[1, 2, 3], 251)[..32],
        [3, 3, 3, 1, 1, 2, 3, 2, 2, 3, 3, 3, 2, 3, 3, 3, 1, 3, 2, 3, 2, 2, 1, 3, 2, 2, 3, 3, 2, 3, 3, 2]
    );
    let whole: Vec<u8> = numbers(&[1, 1000, 7, 500], 65_521).into_iter().flat_map(u32::to_be_bytes).collect();
    assert_eq!(hash(Purpose::Table, [whole.as_slice()]).0, 12_572_156_640_613_224_577);
}

#[test]
fn losing_one_of_100_backends_moves_at_most_2_percent_of_the_others_places() {
    let whole = members(&[1; 100]);
    assert_eq!(size(&whole), 16_381);
    let before = table(SERVICE, &whole, 16_381);
    for n in 1..=100 {
        let mut rest = whole.clone();
        let gone = rest.remove(&endpoint(n)).unwrap().slot;
        // The size must hold for one less, or all places would move.
        let after = table(SERVICE, &rest, size(&rest));
        assert_eq!(before.len(), after.len());
        let moved = moved(&before, &after, gone);
        assert!(moved <= 2.0, "without backend {n}, {moved} % move");
    }
}

#[test]
fn sizes_follow_the_smallest_share() {
    for (weights, wanted) in [
        (vec![5], 251),
        (vec![1; 2], 251),
        (vec![1; 3], 1021),
        (vec![1; 10], 1021),
        (vec![1; 11], 4093),
        (vec![1; 40], 4093),
        (vec![1; 163], 16_381),
        (vec![1; 164], 65_521),
        (vec![1; 10_000], 65_521),
        (vec![1000; 10_000], 65_521),
        (vec![1, 99], 16_381),
        (vec![10, 990], 16_381),
        (vec![1, 1000], 65_521),
    ] {
        assert_eq!(size(&members(&weights)), wanted, "{} backends", weights.len());
    }
    for size in SIZES {
        assert!((2..size).take_while(|n| n * n <= size).all(|n| size % n != 0), "{size} is no prime");
    }
}

#[test]
fn nobody_and_too_many() {
    assert_eq!(table(SERVICE, &Members::new(), 251), []);
    let crowd = members(&[1; 300]);
    assert_eq!(counts(&table(SERVICE, &crowd, 251)).len(), 251);
}

#[test]
fn a_digest_changes_with_all_that_makes_a_table() {
    let usual = members(&[1, 2]);
    let fewer = members(&[1]);
    let heavier = members(&[1, 3]);
    let mut elsewhere = usual.clone();
    elsewhere.get_mut(&endpoint(2)).unwrap().slot = BackendSlot::new(3).unwrap();
    let mut digests: BTreeSet<u64> =
        [&usual, &fewer, &heavier, &elsewhere].map(|members| digest(SERVICE, members, 251)).into();
    digests.insert(digest(SERVICE, &usual, 1021));
    digests.insert(digest(ServiceId::from_bytes([8; 16]), &usual, 251));
    assert_eq!(digests.len(), 6);
}

fn weights(backends: usize) -> impl Strategy<Value = Vec<u16>> {
    prop_oneof![
        prop::collection::vec(Just(1), 1..backends),
        prop::collection::vec(1u16..=10, 1..backends),
        prop::collection::vec(1u16..=Weight::MAX, 1..backends),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_follow_the_weights(weights in weights(200), service: [u8; 16]) {
        let members = members(&weights);
        let size = size(&members);
        let table = table(ServiceId::from_bytes(service), &members, size);
        prop_assert_eq!(table.len(), size as usize);
        let counts = counts(&table);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for member in members.values() {
            let fair = f64::from(size) * f64::from(member.weight.get()) / total;
            let is = f64::from(counts[&member.slot]);
            // Nobody can have half a place, so a small share is further off.
            prop_assert!((is - fair).abs() <= (fair * 0.1).max(2.0), "{is} places instead of {fair}");
        }
    }

    #[test]
    fn a_table_depends_on_no_order_and_no_slots(weights in weights(50), shift in 0usize..50) {
        let members = members(&weights);
        let mut found: Vec<_> = members.clone().into_iter().collect();
        let shift = shift % found.len();
        found.rotate_left(shift);
        found.reverse();
        let elsewhere: Members = (1000..)
            .zip(found)
            .map(|(number, (endpoint, member))| {
                (endpoint, Member { slot: BackendSlot::new(number).unwrap(), ..member })
            })
            .collect();
        let by_slot = |members: &Members| -> BTreeMap<BackendSlot, EndpointId> {
            members.iter().map(|(endpoint, member)| (member.slot, *endpoint)).collect()
        };
        let size = size(&members);
        let chosen = |members: &Members| -> Vec<EndpointId> {
            let by_slot = by_slot(members);
            table(SERVICE, members, size).iter().map(|slot| by_slot[slot]).collect()
        };
        prop_assert_eq!(chosen(&members), chosen(&elsewhere));
    }

    #[test]
    fn two_services_spread_their_flows_differently(services: ([u8; 16], [u8; 16])) {
        prop_assume!(services.0 != services.1);
        let members = members(&[1; 10]);
        let [one, other] =
            [services.0, services.1].map(|id| table(ServiceId::from_bytes(id), &members, 1021));
        let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
        prop_assert!(same < 400, "{same} of 1021 places are the same");
    }
}
