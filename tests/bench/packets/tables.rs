//! The data path's programs with what times them, loaded, and their tables filled as an agent fills them.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map};
use aya::programs::{ProgramError, SchedClassifier, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader, Pod, TestRun as _};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use overlay_abi::services::{
    Backend, PLACES, Places, Port, Service, Table, node_flag, port_index, service_flag,
};
use overlay_abi::{Address, Idle, Node, VtepKey, map, program};

/// Built by `build.rs`.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/overlay-programs"));

pub(super) const FIRST_PORT: u16 = 20_000;
pub(super) const NOBODYS_PORT: u16 = 9;

pub(super) const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;
pub(super) const XDP_REDIRECT: u32 = 4;

const MARK: u32 = 0x6f76;
const DATA_PORT: u16 = 4789;
const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The loopback device's, which a run's packets seem to come in by.
const IFINDEX: u32 = 1;
/// Places of a Maglev table; the larger one for more backends than the first is for.
const SIZES: [u32; 2] = [251, 65_521];

/// What the tables hold.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) services: u32,
    /// Of each service; each is on a peer of its own.
    pub(super) backends: u32,
    /// The most flows, if not as in the product.
    pub(super) flows: Option<u32>,
}

/// What carries a flow.
#[derive(Clone, Copy)]
pub(super) enum Transport {
    Datagram,
    /// TCP, the first packet.
    Opening,
    /// TCP, a later one.
    Acknowledgement,
}

pub(super) struct Loaded {
    ebpf: Ebpf,
    peers: Vec<Ipv4Addr>,
}

impl Loaded {
    pub(super) fn new(size: Size) -> Result<Self> {
        let pins = bpffs()?;
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(pins);
        if let Some(flows) = size.flows {
            loader.map_max_entries(map::FLOWS, flows);
        }
        let mut ebpf = loader.load(PROGRAMS)?;
        for (name, program) in ebpf.programs_mut() {
            let name = name.to_owned();
            match program {
                aya::programs::Program::Xdp(xdp) => xdp.load().with_context(|| name)?,
                aya::programs::Program::SchedClassifier(tc) if name == program::TC_GUARD => tc.load()?,
                _ => {}
            }
        }
        let peers = (0..size.backends).map(|n| Ipv4Addr::from(0x0a09_0001 + n)).collect();
        let mut loaded = Self { ebpf, peers };
        loaded.fill(size)?;
        Ok(loaded)
    }

    /// As `measured.rs` lays it out: how many flows, the next one, the first port, how many ports.
    pub(super) fn set_turns(&mut self, turns: [u32; 4]) -> Result<()> {
        self.set("TURNS", 0, turns)
    }

    /// Runs a program that often, and gives its last verdict and the nanoseconds of a run.
    pub(super) fn run(&mut self, name: &str, transport: Transport, times: u32) -> Result<(u32, u32)> {
        self.learn_hops()?;
        let packet = packet(transport);
        let program =
            self.ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
        let xdp: &mut Xdp = program.try_into()?;
        let result = test_run(&packet, times, |options| xdp.test_run(options))?;
        Ok((result.return_value, u32::try_from(result.duration.as_nanos())?))
    }

    /// XDP asks for them, and then they are read off what leaves.
    fn learn_hops(&mut self) -> Result<()> {
        let packet = packet(Transport::Acknowledgement);
        let xdp: &mut Xdp = self.ebpf.program_mut("measured_underlay").context("no program")?.try_into()?;
        test_run(&packet, 2, |options| xdp.test_run(options))?;
        let guard: &mut SchedClassifier =
            self.ebpf.program_mut(program::TC_GUARD).context("no program")?.try_into()?;
        let mut context = [0; 192];
        context[8..12].copy_from_slice(&MARK.to_ne_bytes());
        // As far as the guard looks at it: UDP to the data port.
        let mut vxlan = [0; 20];
        vxlan[2..4].copy_from_slice(&DATA_PORT.to_be_bytes());
        for peer in &self.peers {
            let packet = ipv4(US, *peer, 17, &vxlan);
            test_run(&packet, 1, |options| {
                guard.test_run(TestRunOptions { ctx_in: Some(&context), ..options })
            })?;
        }
        Ok(())
    }

    /// What the maps take, in bytes, as the kernel counts it (`memlock` in fdinfo).
    pub(super) fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for (name, map) in self.ebpf.maps() {
            let (Map::Array(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::PerCpuHashMap(data)) = map
            else {
                continue;
            };
            let info = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
            let info = fs::read_to_string(info)?;
            let memory = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            sum += memory.with_context(|| format!("{name}: no size"))?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    fn fill(&mut self, size: Size) -> Result<()> {
        let idle = Idle { syn: 60, established: 432_000, fin: 120, rst: 10, single: 30, stream: 120 };
        let node = Node {
            underlay_ifindex: IFINDEX,
            mark: MARK,
            vtep: Address::v4(US.octets()),
            data_port: DATA_PORT,
            flags: node_flag::MESH,
            idle,
            ..Node::default()
        };
        self.set(map::NODE, 0, node)?;
        let mut addresses: HashMap<_, VtepKey, u32> =
            HashMap::try_from(self.ebpf.map_mut(map::ADDRESSES).context("no map")?)?;
        addresses.insert(VtepKey { address: Address::v4(HOST.octets()) }, 1, 0)?;
        let places = if size.backends > 10 { SIZES[1] } else { SIZES[0] };
        for service in 0..size.services {
            let table = Table { digest: 1, offset: service * places, size: places };
            let entry = Service { tables: [table; 4], flags: service_flag::PRESENT, ..Service::default() };
            self.set(map::SERVICES, service + 1, entry)?;
            let port = Port { service: service + 1, target: 80, flags: 0 };
            for udp in [false, true] {
                self.set(map::PORTS, port_index(udp, FIRST_PORT + service as u16), port)?;
            }
            self.add_backends(service, size.backends)?;
        }
        let of_place = |place: u32| {
            let service = place / places;
            (service * size.backends + place % places % size.backends + 1) as u16
        };
        for element in 0..(size.services * places).div_ceil(PLACES) {
            let slots: Places = std::array::from_fn(|n| of_place(element * PLACES + n as u32));
            self.set(map::MAGLEV, element, slots)?;
        }
        Ok(())
    }

    fn add_backends(&mut self, service: u32, backends: u32) -> Result<()> {
        for n in 0..backends {
            let entry = Backend {
                generation: 1,
                service: service + 1,
                vni: 100,
                vtep: Address::v4(self.peers[n as usize].octets()),
                ip4: Address::v4([10, 1, 0, 2]),
                mac: [2, 0, 0, 0, 0, 9],
                mtu: 1450,
                ..Backend::default()
            };
            self.set(map::BACKENDS, service * backends + n + 1, entry)?;
        }
        Ok(())
    }

    fn set<V: Pod>(&mut self, name: &str, index: u32, value: V) -> Result<()> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
        Array::try_from(map)?.set(index, value, 0).with_context(|| format!("writing to {name}"))
    }
}

fn test_run(
    packet: &[u8],
    times: u32,
    run: impl FnOnce(TestRunOptions<'_>) -> Result<TestRunResult, ProgramError>,
) -> Result<TestRunResult> {
    let mut out = [0; 256];
    let (data_in, data_out) = (Some(packet), Some(&mut out[..]));
    Ok(run(TestRunOptions { data_in, data_out, repeat: times, ..TestRunOptions::default() })?)
}

/// A new bpffs that only this thread sees: nothing that was loaded before is on it.
fn bpffs() -> Result<&'static str> {
    const ON: &str = "/mnt";
    unshare(CloneFlags::CLONE_NEWNS).context("the bench needs root")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("bpf"), ON, Some("bpf"), MsFlags::empty(), None::<&str>)?;
    Ok(ON)
}

/// A frame of 60 bytes from a client to the host.
fn packet(transport: Transport) -> Vec<u8> {
    let (protocol, flags) = match transport {
        Transport::Datagram => (17, 0),
        Transport::Opening => (6, 0x02),
        Transport::Acknowledgement => (6, 0x10),
    };
    let mut header = [0; 26];
    header[..4].copy_from_slice(&[0x80, 0, (FIRST_PORT >> 8) as u8, FIRST_PORT as u8]);
    header[12..14].copy_from_slice(&[0x50, flags]);
    if matches!(transport, Transport::Datagram) {
        header[4..8].copy_from_slice(&[0, 26, 0, 0]);
    }
    ipv4(Ipv4Addr::new(198, 18, 0, 7), HOST, protocol, &header)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}
