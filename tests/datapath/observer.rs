//! Flows are read beside the programs that write them: each is shown once, and those that are meant end.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aya::maps::{HashMap, Map, MapData};
use overlay::flows::FlowEntry;
use overlay_abi::services::{Flow, FlowKey, scope};
use overlay_abi::{ABI_VERSION, map};
use overlayd::kernel::bpf::DataPath;

use crate::netns::Bpffs;

/// More than is read at once.
const MANY: u16 = 10_000;

fn key(port: u16) -> FlowKey {
    let end = |text: &str, port| (text.parse::<IpAddr>().unwrap().into(), port);
    FlowKey::new(scope::MESH, 0, 17, end("203.0.113.9", port), end("192.0.2.1", 80))
}

#[test]
fn every_flow_is_shown_once_and_those_that_are_meant_end() {
    let bpffs = Bpffs::new();
    let data_path = DataPath::open(&bpffs.dir()).unwrap();
    let path = bpffs.dir().join(format!("v{ABI_VERSION}/maps/{}", map::FLOWS));
    let flows = Map::LruHashMap(MapData::from_pin(path).unwrap());
    let mut flows: HashMap<_, FlowKey, Flow> = HashMap::try_from(flows).unwrap();
    let observer = data_path.observer();
    let shown = || {
        let mut ports = Vec::new();
        observer.each_flow(|flow| ports.push(flow.from.port())).unwrap();
        ports
    };
    assert_eq!(shown(), [0u16; 0]);
    for port in 0..MANY {
        flows.insert(key(port), Flow::default(), 0).unwrap();
    }
    let ports = shown();
    assert_eq!(ports.len(), usize::from(MANY));
    assert_eq!(ports.into_iter().collect::<BTreeSet<_>>(), (0..MANY).collect());

    let odd = |flow: &FlowEntry| flow.from.port() % 2 == 1;
    assert_eq!(observer.end_flows(odd).unwrap(), usize::from(MANY / 2));
    assert_eq!(observer.end_flows(odd).unwrap(), 0);
    assert!(shown().into_iter().all(|port| port % 2 == 0));
    assert_eq!(observer.end_flows(|_| true).unwrap(), usize::from(MANY / 2));
    assert_eq!(shown(), [0u16; 0]);
}
