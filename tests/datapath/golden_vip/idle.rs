//! Flows end with their idle time, which the node's entry says.

use std::net::IpAddr;

use etherparse::TcpHeader;
use overlay::config::Idle;
use overlay::model::Affinity;
use overlay::reconcile::tables::{NodeEntry, TableAction};

use super::{SERVED, client, redirected};
use crate::bench::mac;
use crate::frames::Ip;
use crate::serving::{Serving, vip};

const SERVICE: u8 = 1;
/// All different, and other than the defaults, in seconds.
const IDLE: Idle = Idle {
    tcp_syn: 1_000,
    tcp_established: 2_000,
    tcp_fin: 3_000,
    tcp_rst: 4_000,
    udp: 5_000,
    udp_stream: 6_000,
};
/// More than a run of this test takes, in seconds.
const SLACK: u32 = 500;

type Change = fn(&mut TcpHeader);

const SYN: Change = |header| header.syn = true;
const ACK: Change = |header| header.ack = true;
const FIN: Change = |header| (header.ack, header.fin) = (true, true);
const RST: Change = |header| header.rst = true;

/// How long a flow that had these packets lives.
enum Had {
    Segments(&'static [Change], u32),
    Datagrams(usize, u32),
}

const CASES: [(&str, Had); 6] = [
    ("opened", Had::Segments(&[SYN], IDLE.tcp_syn)),
    ("going on", Had::Segments(&[SYN, ACK], IDLE.tcp_established)),
    ("closed", Had::Segments(&[SYN, ACK, FIN, ACK], IDLE.tcp_fin)),
    ("broken off", Had::Segments(&[SYN, ACK, RST], IDLE.tcp_rst)),
    ("one datagram", Had::Datagrams(1, IDLE.udp)),
    ("two datagrams", Had::Datagrams(2, IDLE.udp_stream)),
];

#[test]
fn a_flow_ends_with_the_idle_time_that_the_node_has() {
    for v6 in [false, true] {
        let mut serving = Serving::new(false);
        serving.serve(SERVICE, &[1, 2], Affinity::None);
        let node = serving.bench.data_path.observe().unwrap().node.unwrap();
        let entry = NodeEntry { idle: IDLE, ..node };
        serving.bench.data_path.apply(&TableAction::PutNode(entry)).unwrap();
        let mut port = 40_000;
        for (what, had) in &CASES {
            let lives = match had {
                Had::Segments(_, lives) | Had::Datagrams(_, lives) => *lives,
            };
            // Another CPU may have noted a later time than a packet goes by.
            for (age, goes_on) in [(-1, true), (i64::from(lives - SLACK), true), (lives.into(), false)] {
                port += 1;
                serving.balance(SERVICE, &[2]);
                packets(had, v6, port).iter().for_each(|packet| drop(redirected(&mut serving, packet)));
                serving.balance(SERVICE, &[1]);
                serving.bench.age_flows(age);
                let next = packets(had, v6, port).pop().unwrap();
                let stays = redirected(&mut serving, &next)[..6] != mac(1);
                assert_eq!(stays, goes_on, "{what}, after {age} s");
            }
        }
    }
}

fn packets(had: &Had, v6: bool, port: u16) -> Vec<Ip> {
    let (from, to): (_, (IpAddr, u16)) = (client(v6, port), (vip(SERVICE, v6), SERVED));
    match had {
        Had::Segments(changes, _) => {
            changes.iter().map(|change| Ip::segment(from, to, b"", *change)).collect()
        }
        Had::Datagrams(count, _) => (0..*count).map(|_| Ip::datagram(from, to, b"x")).collect(),
    }
}
