//! Runs golden packets through the loaded programs (`BPF_PROG_TEST_RUN`): the verdict, what was counted, what
//! became of the bytes and of the mark.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use aya::TestRun as _;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::TestRunOptions;
use nix::time::{ClockId, clock_gettime};
use overlay::config::Idle;
use overlay::model::{MacAddr, Vni};
use overlay::reconcile::tables::{
    Destination, NetworkEntry, NodeEntry, Program, Source, TableAction, VtepEntry,
};
use overlay_abi::services::{Flow, FlowKey};
use overlay_abi::{ABI_VERSION, DropReason, map};
use overlayd::kernel::bpf::DataPath;

use crate::cut;
use crate::frames::Mac;
use crate::lab::{self, DATA_PORT, ip};
use crate::netns::{Bpffs, Netns};

pub(crate) const MARK: u32 = 0x6f76;
/// The devices with endpoints behind them; see [`Bench::new`].
pub(crate) const DEVICES: [&str; 5] = ["ep0", "ep1", "ep2", "ep3", "ep4"];

/// What stands for the VXLAN device.
const VXLAN: &str = "vx0";

/// What goes in.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) packet: Vec<u8>,
    pub(crate) device: &'static str,
    pub(crate) mark: u32,
    pub(crate) gso_size: u32,
    pub(crate) gso_segs: u32,
    pub(crate) expect: Expect,
}

/// What comes out.
#[derive(Clone)]
pub(crate) enum Expect {
    /// Untouched, for the next program.
    Pass,
    /// Dropped and counted, once.
    Drop(DropReason),
    /// Redirected with these bytes and this mark.
    Redirect(Vec<u8>, u32),
    /// Counted as dropped, and redirected with these bytes: its sender is told.
    Told(DropReason, Vec<u8>),
}

impl Case {
    pub(crate) fn new(what: &'static str, device: &'static str, packet: Vec<u8>, expect: Expect) -> Self {
        Self { what, packet, device, mark: 0, gso_size: 0, gso_segs: 0, expect }
    }

    pub(crate) fn mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    pub(crate) fn gso_size(mut self, size: u32) -> Self {
        self.gso_size = size;
        self
    }

    pub(crate) fn gso_segs(mut self, segments: u32) -> Self {
        self.gso_segs = segments;
        self
    }
}

/// What the kernel answered.
pub(crate) struct Ran {
    pub(crate) verdict: i32,
    pub(crate) packet: Vec<u8>,
    pub(crate) mark: u32,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
}

pub(crate) struct Bench {
    pub(crate) netns: Netns,
    pub(crate) data_path: DataPath,
    pub(crate) bpffs: Bpffs,
}

pub(crate) fn mac(index: usize) -> Mac {
    lab::mac(index).bytes()
}

pub(crate) fn vtep(index: u8, v6: bool) -> IpAddr {
    if v6 { ip(&format!("2001:db8::{index}")) } else { ip(&format!("192.0.2.{index}")) }
}

impl Bench {
    /// A node without any entry, its devices there.
    pub(crate) fn empty() -> Self {
        let netns = Netns::new();
        for device in DEVICES.iter().chain(&["under0", VXLAN]) {
            netns.ip(&format!("link add {device} type veth peer name {device}-peer"));
        }
        let bpffs = Bpffs::new();
        let data_path = netns.enter(|| DataPath::open(&bpffs.dir()).unwrap().load().unwrap());
        Self { netns, data_path, bpffs }
    }

    /// A node with VTEP 1 and these endpoints of network 100, by number: 0 (ep0) and 1 (ep1, IPv4 alone) here,
    /// 2 on VTEP 2, 3 on VTEP 3, which takes 1280 bytes, 4 on a VTEP that is no peer, 5 on VTEP 2, which
    /// forwards for others. ep2's endpoint has a network that is not known, ep3's one without a gateway, with a peer
    /// on VTEP 3, and ep4's forwards for others.
    pub(crate) fn new(v6: bool) -> Self {
        let mut bench = Self::empty();
        let vni = lab::vni();
        let ifindex = |device: &str| bench.netns.ifindex(device);
        let mut actions = vec![
            TableAction::PutNode(NodeEntry {
                underlay_ifindex: ifindex("under0"),
                vxlan_ifindex: NonZeroU32::new(ifindex(VXLAN)),
                vtep: vtep(1, v6),
                data_port: DATA_PORT,
                mark: MARK,
                idle: Idle::default(),
                egress: None,
            }),
            TableAction::PutNetwork(
                vni,
                NetworkEntry {
                    mtu: 1450,
                    gateway4: "10.1.0.1".parse().ok(),
                    gateway6: "fd00:1::1".parse().ok(),
                    internal: false,
                },
            ),
            TableAction::PutNetwork(
                bare(),
                NetworkEntry { mtu: 1450, gateway4: None, gateway6: None, internal: false },
            ),
            TableAction::PutNeighbour(vni, ip("10.1.0.1"), MacAddr::gateway(vni)),
            TableAction::PutNeighbour(vni, ip("fd00:1::1"), MacAddr::gateway(vni)),
            TableAction::PutVtep(vtep(2, v6), VtepEntry { mtu: 1450 }),
            TableAction::PutVtep(vtep(3, v6), VtepEntry { mtu: 1280 }),
        ];
        for index in 0..6 {
            let place = match index {
                0 | 1 => Destination::Local { ifindex: ifindex(&format!("ep{index}")) },
                2 => Destination::Remote { vtep: vtep(2, v6), forward: false },
                3 => Destination::Remote { vtep: vtep(3, v6), forward: false },
                5 => Destination::Remote { vtep: vtep(2, v6), forward: true },
                _ => Destination::Remote { vtep: vtep(9, v6), forward: false },
            };
            actions.push(TableAction::PutFdb(vni, lab::mac(index), place));
            for v6 in [false, true] {
                actions.push(TableAction::PutNeighbour(vni, lab::address(index, v6), lab::mac(index)));
            }
        }
        actions.push(TableAction::PutFdb(
            bare(),
            lab::mac(3),
            Destination::Remote { vtep: vtep(3, v6), forward: false },
        ));
        for (index, vni) in [(0, vni), (1, vni), (2, Vni::new(999).unwrap()), (3, bare()), (4, vni)] {
            let (IpAddr::V4(ip4), IpAddr::V6(ip6)) = (lab::address(0, false), lab::address(0, true)) else {
                unreachable!("one of each family");
            };
            let source = match index {
                1 => Source {
                    vni,
                    mac: lab::mac(1),
                    ip4: "10.1.0.3".parse().ok(),
                    ip6: None,
                    forward: false,
                    serves: true,
                },
                _ => Source {
                    vni,
                    mac: lab::mac(0),
                    ip4: Some(ip4),
                    ip6: Some(ip6),
                    forward: index == 4,
                    serves: true,
                },
            };
            actions.push(TableAction::PutSource(ifindex(DEVICES[index]), source));
        }
        for action in actions {
            bench.data_path.apply(&action).unwrap();
        }
        bench
    }

    /// A map that programs write, by its pin.
    pub(crate) fn pinned<K: aya::Pod, V: aya::Pod>(&self, name: &str) -> HashMap<MapData, K, V> {
        let path = self.bpffs.dir().join(format!("v{ABI_VERSION}/maps/{name}"));
        HashMap::try_from(Map::LruHashMap(MapData::from_pin(path).unwrap())).unwrap()
    }

    /// Makes it as if all flows had seen their last packet that many seconds ago.
    pub(crate) fn age_flows(&self, seconds: i64) {
        let mut flows = self.pinned::<FlowKey, Flow>(map::FLOWS);
        let all: Vec<_> = flows.iter().map(Result::unwrap).collect();
        // The programs' own clock.
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap());
        for (key, flow) in all {
            let seen = (now.as_nanos() as u64).wrapping_add_signed(-seconds * 1_000_000_000);
            flows.insert(key, Flow { seen, ..flow }, 0).unwrap();
        }
    }

    /// Checks every case, and every length that is left of it: no shortened packet is forwarded, unless it says how short
    /// it is. Then what comes of it is whole.
    pub(crate) fn check(&mut self, program: Program, cases: &[Case]) {
        for case in cases {
            self.check_case(program, case);
            self.check_torn(program, case);
        }
        for case in cases.iter().filter(|case| case.gso_size == 0) {
            self.check_cuts(program, case);
        }
    }

    /// Checks a case that changes what comes of it: once, after every length that is left of it.
    pub(crate) fn check_once(&mut self, program: Program, case: &Case) {
        self.check_torn(program, case);
        self.check_case(program, case);
    }

    fn check_torn(&mut self, program: Program, case: &Case) {
        let (before, mut dropped) = (self.dropped(), 0);
        for length in cut::lengths(shortest(&case.packet), case.packet.len()) {
            let verdict = self.run_uncounted(program, case, &case.packet[..length]).verdict;
            assert!(matches!(verdict, PASS | DROP), "{}, cut to {length} bytes: {verdict}", case.what);
            dropped += u64::from(verdict == DROP);
        }
        assert_eq!(self.dropped() - before, dropped, "{}, cut: those counted, and those dropped", case.what);
    }

    /// How many packets were dropped so far, for whatever reason.
    fn dropped(&self) -> u64 {
        self.data_path.drops().unwrap().values().sum()
    }

    fn check_cuts(&mut self, program: Program, case: &Case) {
        for packet in cut::each(&case.packet) {
            let ran = self.run_uncounted(program, case, &packet);
            let what = format!("{}, cut to {} bytes", case.what, packet.len());
            assert!(matches!(ran.verdict, PASS | DROP | REDIRECT), "{what}: {}", ran.verdict);
            if ran.verdict == REDIRECT {
                let fault = cut::fault(&packet, &ran.packet);
                assert!(fault.is_none(), "{what}: {fault:?}\n in {}\nout {}", hex(&packet), hex(&ran.packet));
            }
        }
    }

    fn check_case(&mut self, program: Program, case: &Case) {
        let ran = self.run(program, case, &case.packet);
        let what = format!("{program:?}, {}; dropped: {:?}", case.what, ran.dropped);
        match &case.expect {
            Expect::Pass => {
                assert_eq!((ran.verdict, ran.dropped), (PASS, BTreeMap::new()), "{what}");
                assert_eq!(ran.packet, case.packet, "{what}");
            }
            Expect::Drop(reason) => {
                assert_eq!((ran.verdict, ran.dropped), (DROP, BTreeMap::from([(*reason, 1)])), "{what}");
            }
            Expect::Told(reason, packet) => {
                assert_eq!((ran.verdict, ran.dropped), (REDIRECT, BTreeMap::from([(*reason, 1)])), "{what}");
                assert!(ran.packet == *packet, "{what}\n got {}\nwant {}", hex(&ran.packet), hex(packet));
            }
            Expect::Redirect(packet, mark) => {
                assert_eq!((ran.verdict, ran.dropped), (REDIRECT, BTreeMap::new()), "{what}");
                assert_eq!(ran.mark, *mark, "{what}");
                let got = without_flow_port(&ran.packet, program);
                assert!(
                    got == without_flow_port(packet, program),
                    "{what}\n got {}\nwant {}",
                    hex(&got),
                    hex(packet)
                );
            }
        }
    }

    /// Runs `packet` in the case's context.
    pub(crate) fn run(&mut self, program: Program, case: &Case, packet: &[u8]) -> Ran {
        let before = self.data_path.drops().unwrap();
        let ran = self.run_uncounted(program, case, packet);
        let mut dropped = self.data_path.drops().unwrap();
        for (reason, count) in before {
            *dropped.get_mut(&reason).unwrap() -= count;
        }
        dropped.retain(|_, count| *count > 0);
        Ran { dropped, ..ran }
    }

    /// The same, but [`Ran::dropped`] stays empty: reading the counters takes many times as long as a run.
    pub(crate) fn run_uncounted(&mut self, program: Program, case: &Case, packet: &[u8]) -> Ran {
        let mut context = Context::new();
        context.set(Context::IFINDEX, self.netns.ifindex(case.device));
        context.set(Context::MARK, case.mark);
        context.set(Context::GSO_SIZE, case.gso_size);
        context.set(Context::GSO_SEGS, case.gso_segs);
        let (mut out, mut context_out) = (vec![0; 16_384], Context::new());
        let plain =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.netns.enter(|| match program {
            Program::XdpUnderlay => self.data_path.xdp(program).unwrap().test_run(plain),
            _ => self.data_path.classifier(program).unwrap().test_run(TestRunOptions {
                ctx_in: Some(&context.0),
                ctx_out: Some(&mut context_out.0),
                ..plain
            }),
        });
        let result =
            result.unwrap_or_else(|error| panic!("{}, {} bytes: {error:?}", case.what, packet.len()));
        out.truncate(result.data_size_out as usize);
        Ran {
            verdict: verdict(program, result.return_value),
            packet: out,
            mark: context_out.get(Context::MARK),
            dropped: BTreeMap::new(),
        }
    }
}

/// As tc's numbers, which the cases name.
fn verdict(program: Program, number: u32) -> i32 {
    match (program, number) {
        (Program::XdpUnderlay, XDP_DROP) => DROP,
        (Program::XdpUnderlay, XDP_PASS) => PASS,
        (Program::XdpUnderlay, XDP_REDIRECT) => REDIRECT,
        (Program::XdpUnderlay, other) => panic!("XDP's verdict {other}"),
        (_, number) => number.cast_signed(),
    }
}

/// A network without gateways.
pub(crate) fn bare() -> Vni {
    Vni::new(300).unwrap()
}

/// TC_ACT_UNSPEC, which is tcx's "next".
pub(crate) const PASS: i32 = -1;
/// TC_ACT_SHOT.
pub(crate) const DROP: i32 = 2;
/// TC_ACT_REDIRECT.
pub(crate) const REDIRECT: i32 = 7;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// The fewest bytes of a frame that the kernel accepts for a run: IP frames need a whole fixed IP header.
fn shortest(packet: &[u8]) -> usize {
    match packet[12..14] {
        [0x08, 0x00] => 34,
        [0x86, 0xdd] => 54,
        _ => 15,
    }
}

/// The flow's source port differs from boot to boot; it only has to lie in the dynamic range.
fn without_flow_port(packet: &[u8], program: Program) -> Vec<u8> {
    let mut packet = packet.to_vec();
    // These two wrap none themselves.
    if matches!(program, Program::TcOverlay | Program::TcGuard) {
        return packet;
    }
    let port = match packet.get(12..14) {
        Some([0x08, 0x00]) if packet[23] == 17 && packet[36..38] == DATA_PORT.to_be_bytes() => 34,
        Some([0x86, 0xdd]) if packet[20] == 17 && packet[56..58] == DATA_PORT.to_be_bytes() => 54,
        _ => return packet,
    };
    assert!(packet[port] >= 0xc0, "source port {:?}", &packet[port..port + 2]);
    packet[port..port + 2].copy_from_slice(&[0xc0, 0]);
    packet
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `struct __sk_buff`.
struct Context([u8; 192]);

impl Context {
    const MARK: usize = 8;
    const IFINDEX: usize = 40;
    const GSO_SEGS: usize = 164;
    const GSO_SIZE: usize = 176;

    const fn new() -> Self {
        Self([0; 192])
    }

    fn set(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn get(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }
}
