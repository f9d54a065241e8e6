//! The cluster's keys, changed under running nodes.

use std::collections::BTreeMap;

use super::*;

fn both(current: u8) -> Keys {
    Keys::new(current, BTreeMap::from([(1, [1; 32]), (2, [2; 32])])).unwrap()
}

#[tokio::test]
async fn a_stolen_datagram_is_refused_after_rotation_and_facts_still_travel() {
    let cluster = Cluster::new();
    let mut target = cluster.start(node(1), 1).await;
    let owner = cluster.start(node(2), 1).await;
    owner.state(2, [20]);
    target.until_shows(2, &[20]).await;

    let records = vec![Record { key: Key { kind: 1, id: [0; 16] }, version: 1, body: None }];
    let push = Delta { owner: node(3), generation: 1, head: 1, floor: 0, from: 0, to: 1, records };
    let stolen = Sealer::new(&keys(), node(3), 1).seal(&Payload::Push(push).encode());
    let thief = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = target.gossip.local_addr();
    let before = target.gossip.watch().borrow().counters.pushes_received;
    thief.send_to(&stolen, addr).await.unwrap();
    target.until("taken once", |snapshot| snapshot.counters.pushes_received > before).await;

    for (round, keys) in [both(1), both(2), Keys::one(2, [2; 32])].into_iter().enumerate() {
        cluster.keys.send_replace(keys);
        let endpoints = [20, 30 + round as u8];
        owner.state(2, endpoints);
        target.until_shows(2, &endpoints).await;
    }
    let before = target.gossip.watch().borrow().clone();
    thief.send_to(&stolen, addr).await.unwrap();
    let refused = before.counters.refused_unknown_key + 1;
    let after = target.until("refused", |snapshot| snapshot.counters.refused_unknown_key == refused).await;
    assert_eq!(after.view, before.view);
}
