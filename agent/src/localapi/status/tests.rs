use std::collections::BTreeSet;

use overlay::model::Availability;

use super::*;

fn node(number: u8) -> Node {
    Node {
        id: NodeId::from_bytes([number; 16]),
        hostname: format!("n{number}"),
        addr: [192, 0, 2, number].into(),
        gossip_port: 7946,
        api_port: 2377,
        data_port: 4789,
        manager: number == 1,
        underlay: Vec::new(),
        version: String::new(),
        facts_key: String::new(),
        availability: Availability::Active,
        drained_at: 0,
        labels: overlay::model::Labels::new(),
        ca_generation: 0,
        key: String::new(),
    }
}

/// What a node says that lacks the facts of these, and follows node 1.
fn said(missing: &[u8], alive: &[u8], [synced, settled, reachable]: [bool; 3]) -> Option<String> {
    let ids = |numbers: &[u8]| numbers.iter().map(|number| node(*number).id).collect::<BTreeSet<_>>();
    let nodes = (1..10).map(node).map(|node| (node.id, node)).collect();
    let intent = Intent { nodes, ..Intent::default() };
    let snapshot =
        Snapshot { missing: ids(missing), alive: ids(alive), synced, settled, ..Snapshot::default() };
    let addr = SocketAddr::new(node(1).addr, node(1).api_port);
    let link = ManagerLink { addr, reachable, excluded: None, last_error: None };
    facts_waited_for(&intent, &snapshot, &link)
}

#[test]
fn whose_facts_are_missing_is_said() {
    let all = said(&[1, 2, 3], &[9], [false, false, false]).unwrap();
    assert!(all.starts_with("facts: those of n1, n2, n3 have not come"), "{all}");
    let alive = said(&[1, 2, 3], &[2, 9], [false, true, false]).unwrap();
    assert!(alive.starts_with("facts: those of n2 have not come"), "{alive}");
    let many = said(&[2, 3, 4, 5, 6, 7, 8], &[9], [false, false, true]).unwrap();
    assert!(many.starts_with("facts: those of n2, n3, n4, n5, n6 and 2 more have"), "{many}");
    assert!(said(&[], &[9], [false, false, true]).unwrap().contains("no peer"));
}

#[test]
fn the_dead_are_not_waited_for_but_the_manager_that_is_followed_is() {
    assert_eq!(said(&[1, 2], &[9], [true, true, false]), None);
    let followed = said(&[1, 2], &[9], [true, true, true]).unwrap();
    assert!(followed.starts_with("facts: those of n1 have not come"), "{followed}");
    assert_eq!(said(&[2], &[9], [true, true, true]), None);
}
