use super::*;

const OWNER: NodeId = NodeId::from_bytes([1; 16]);
const HOLDER: NodeId = NodeId::from_bytes([2; 16]);

/// What a boot of the owner states first.
fn first(generation: u64) -> Delta {
    let fact = NodeFact { vtep: [192, 0, 2, 1].into(), underlay_mtu: 1500, version: String::new() };
    Store::new(OWNER, generation).state(&fact, &[]).expect("the first statement changes something")
}

#[test]
fn expiry_leaves_shared_what_has_no_tombstone() {
    let mut store = Store::new(HOLDER, 1);
    store.merge(first(1));
    let clone = store.clone();
    store.expire(KEEP, &BTreeSet::from([OWNER]));
    assert!(Arc::ptr_eq(&store.owners[&OWNER].generations, &clone.owners[&OWNER].generations));
}

#[test]
fn who_boots_over_and_over_takes_no_more_memory() {
    let mut store = Store::new(HOLDER, 1);
    store.merge(first(1));
    for generation in 2..1000 {
        // Another change is known to follow.
        store.merge(Delta { head: 2, ..first(generation) });
    }
    let held: Vec<u64> = store.owners[&OWNER].generations.keys().copied().collect();
    assert_eq!(held.len(), 1 + MOST_UNFINISHED, "{held:?}");
    assert_eq!((held[0], held.last()), (1, Some(&999)), "the last whole one, and the newest");
    store.merge(Delta { from: 1, to: 2, head: 2, records: Vec::new(), ..first(999) });
    assert_eq!(store.owners[&OWNER].generations.len(), 1);
}
