//! What outlives an agent: pinned maps and links, taken over by the next one.

use std::fs;

use overlay::config::Idle;
use overlay::reconcile::tables::{NodeEntry, Program, TableAction};
use overlay_abi::ABI_VERSION;
use overlayd::kernel::bpf::{self, DataPath};

use crate::bench::{Bench, vtep};
use crate::netns::{Bpffs, Netns, eventually};

const PROGRAMS: [Program; 4] =
    [Program::TcEndpoint, Program::TcUnderlay, Program::TcOverlay, Program::TcGuard];

fn node(v6: bool) -> NodeEntry {
    let idle = Idle::default();
    NodeEntry {
        underlay_ifindex: 3,
        vxlan_ifindex: None,
        vtep: vtep(1, v6),
        data_port: 4789,
        mark: 1,
        idle,
        egress: None,
    }
}

fn device(netns: &Netns, name: &str) {
    netns.ip(&format!("link add {name} type veth peer name peer0"));
}

#[test]
fn the_next_agent_takes_over_tables_and_links() {
    let (netns, bpffs) = (Netns::new(), Bpffs::new());
    device(&netns, "dev0.5");
    netns.enter(|| {
        let mut first = DataPath::open(&bpffs.dir()).unwrap().load().unwrap();
        let node = node(false);
        first.apply(&TableAction::PutNode(node)).unwrap();
        for program in PROGRAMS {
            assert!(!first.attached(program, "dev0.5").unwrap());
            first.attach(program, "dev0.5").unwrap();
            assert!(!first.attached_earlier(program, "dev0.5").unwrap());
        }
        let ids = PROGRAMS.map(|program| first.info(program).unwrap().id());
        drop(first);

        let mut second = DataPath::open(&bpffs.dir()).unwrap().load().unwrap();
        assert_eq!(second.observe().unwrap().node, Some(node));
        assert_eq!(second.links().unwrap(), PROGRAMS.map(|program| (program, "dev0.5".to_owned())));
        for (program, old) in PROGRAMS.into_iter().zip(ids) {
            assert!(!second.attached(program, "dev0.5").unwrap(), "the first agent's {program:?} runs");
            assert!(second.attached_earlier(program, "dev0.5").unwrap());
            second.attach(program, "dev0.5").unwrap();
            assert!(second.attached(program, "dev0.5").unwrap());
            assert!(!second.attached_earlier(program, "dev0.5").unwrap());
            assert_ne!(second.info(program).unwrap().id(), old);
            assert_eq!(running(program, "dev0.5"), 1, "{program:?} replaced, not added");
        }
        second.detach(Program::TcGuard, "dev0.5").unwrap();
        second.detach(Program::TcGuard, "dev0.5").unwrap();
        eventually("detached", || running(Program::TcGuard, "dev0.5") == 0);

        bpf::remove(&bpffs.dir()).unwrap();
        bpf::remove(&bpffs.dir()).unwrap();
        eventually("removed", || running(Program::TcEndpoint, "dev0.5") == 0);
    });
}

#[test]
fn only_the_maps_of_other_layouts_are_unpinned() {
    let (netns, bpffs) = (Netns::new(), Bpffs::new());
    netns.enter(|| {
        let data_path = DataPath::open(&bpffs.dir()).unwrap();
        let folders = || {
            let entries = fs::read_dir(bpffs.dir()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let own = folders();
        for other in ["v0", "v999", "vault"] {
            fs::create_dir_all(bpffs.dir().join(other).join("maps")).unwrap();
        }
        let mut removed = data_path.remove_other_versions().unwrap();
        removed.sort();
        assert_eq!(removed, ["v0", "v999"]);
        fs::remove_dir_all(bpffs.dir().join("vault")).unwrap();
        assert_eq!(folders(), own);
        assert!(data_path.remove_other_versions().unwrap().is_empty());
    });
}

/// How many of the tcx programs at that hook are this one.
fn running(program: Program, ifname: &str) -> usize {
    use aya::programs::{SchedClassifier, TcAttachType};
    let hook = if program == Program::TcGuard { TcAttachType::Egress } else { TcAttachType::Ingress };
    let (_, programs) = SchedClassifier::query_tcx(ifname, hook).unwrap();
    programs.iter().filter(|info| info.name_as_str() == Some(bpf::name(program))).count()
}

#[test]
fn a_device_made_anew_is_attached_anew() {
    for program in [Program::TcEndpoint, Program::XdpUnderlay] {
        let (netns, bpffs) = (Netns::new(), Bpffs::new());
        device(&netns, "dev0");
        let mut data_path = netns.enter(|| {
            let mut data_path = DataPath::open(&bpffs.dir()).unwrap().load().unwrap();
            data_path.attach(program, "dev0").unwrap();
            data_path
        });
        netns.ip("link del dev0");
        assert!(!netns.enter(|| data_path.attached(program, "dev0").unwrap()));
        assert_eq!(data_path.links().unwrap(), [(program, "dev0".to_owned())]);
        device(&netns, "dev0");
        netns.enter(|| {
            assert!(!data_path.attached(program, "dev0").unwrap());
            data_path.attach(program, "dev0").unwrap();
            assert!(data_path.attached(program, "dev0").unwrap());
        });
    }
}

#[test]
fn lost_pins_are_made_again() {
    let bpffs = Bpffs::new();
    let mut data_path = DataPath::open(&bpffs.dir()).unwrap();
    let node = node(true);
    data_path.apply(&TableAction::PutNode(node)).unwrap();
    assert!(data_path.repair_pins().unwrap().is_empty());
    for name in ["NODE", "FDB"] {
        fs::remove_file(bpffs.dir().join(format!("v{ABI_VERSION}/maps")).join(name)).unwrap();
    }
    assert_eq!(data_path.repair_pins().unwrap(), ["NODE", "FDB"]);
    assert_eq!(DataPath::open(&bpffs.dir()).unwrap().observe().unwrap().node, Some(node));
    bpf::remove(&bpffs.dir()).unwrap();
    assert_eq!(data_path.repair_pins().unwrap().len(), overlay_abi::map::ALL.len());
}

#[test]
fn what_is_written_is_observed_and_can_be_removed() {
    let mut bench = Bench::new(true);
    let tables = bench.data_path.observe().unwrap();
    assert_eq!((tables.networks.len(), tables.fdb.len(), tables.neighbours.len()), (2, 7, 14));
    assert_eq!((tables.vteps.len(), tables.sources.len()), (2, 5));
    let mut actions = Vec::new();
    actions.extend(tables.networks.keys().map(|vni| TableAction::DeleteNetwork(*vni)));
    actions.extend(tables.fdb.keys().map(|(vni, mac)| TableAction::DeleteFdb(*vni, *mac)));
    actions
        .extend(tables.neighbours.keys().map(|(vni, address)| TableAction::DeleteNeighbour(*vni, *address)));
    actions.extend(tables.vteps.keys().map(|address| TableAction::DeleteVtep(*address)));
    actions.extend(tables.sources.keys().map(|ifindex| TableAction::DeleteSource(*ifindex)));
    for action in actions.iter().chain(&actions) {
        bench.data_path.apply(action).unwrap();
    }
    let left = bench.data_path.observe().unwrap();
    assert_eq!(left, overlay::reconcile::tables::Tables { node: tables.node, ..Default::default() });
}

#[test]
fn the_verifier_has_room() {
    let bpffs = Bpffs::new();
    let data_path = DataPath::open(&bpffs.dir()).unwrap().load().unwrap();
    for program in PROGRAMS.into_iter().chain([Program::TcLocal, Program::XdpUnderlay]) {
        let count = data_path.info(program).unwrap().verified_instruction_count().unwrap();
        println!("{}: {count} instructions verified", bpf::name(program));
        assert!(count < 250_000, "{program:?}: {count} of the verifier's million");
    }
}
