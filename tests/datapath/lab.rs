//! Two nodes on one underlay, an endpoint on each, the tables filled by hand.

use std::net::IpAddr;
use std::num::NonZeroU32;

use overlay::config::Idle;
use overlay::model::{MacAddr, UnderlayFamily, Vni};
use overlay::reconcile::tables::{
    Destination, NetworkEntry, NodeEntry, Program, Source, TableAction, VtepEntry,
};
use overlayd::kernel::bpf::DataPath;

use crate::netns::{Bpffs, Netns, eventually};

pub(crate) const DATA_PORT: u16 = 4789;
const MARK: u32 = 0x6f76;
const UNDERLAY_MTU: u16 = 1500;

pub(crate) fn vni() -> Vni {
    Vni::new(100).unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The endpoint of node `index`.
pub(crate) fn mac(index: usize) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, index as u8 + 1]).unwrap()
}

/// Its address in a family.
pub(crate) fn address(index: usize, v6: bool) -> IpAddr {
    if v6 { ip(&format!("fd00:1::{}", index + 2)) } else { ip(&format!("10.1.0.{}", index + 2)) }
}

/// A node: its namespace, its endpoint's, and its data path.
pub(crate) struct Node {
    pub(crate) host: Netns,
    pub(crate) endpoint: Netns,
    pub(crate) data_path: DataPath,
    pub(crate) vtep: IpAddr,
    _bpffs: Bpffs,
}

/// Both nodes.
pub(crate) struct Lab {
    pub(crate) nodes: [Node; 2],
    /// The endpoints' MTU in bytes.
    pub(crate) mtu: u16,
}

impl Lab {
    /// Over an underlay of this family.
    pub(crate) fn new(family: UnderlayFamily) -> Self {
        let mtu = UNDERLAY_MTU - family.overhead();
        let hosts = [Netns::new(), Netns::new()];
        hosts[0].ip(&format!(
            "link add under0 mtu {UNDERLAY_MTU} type veth peer name under0 mtu {UNDERLAY_MTU} netns {}",
            hosts[1].path()
        ));
        let mut index = 0;
        let nodes = hosts.map(|host| {
            let node = Node::new(host, index, family, mtu);
            index += 1;
            node
        });
        let mut lab = Self { nodes, mtu };
        for (index, node) in lab.nodes.iter_mut().enumerate() {
            node.fill(index, mtu);
        }
        lab.introduce();
        lab
    }

    /// Tells each node of the other's VTEP and endpoint.
    fn introduce(&mut self) {
        let vteps = [self.nodes[0].vtep, self.nodes[1].vtep];
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let other = 1 - index;
            let vtep = vteps[other];
            node.apply(TableAction::PutVtep(vtep, VtepEntry { mtu: self.mtu }));
            node.apply(TableAction::PutFdb(vni(), mac(other), Destination::Remote { vtep, forward: false }));
            node.host.enter(|| {
                for (program, device) in [
                    (Program::TcGuard, "under0"),
                    (Program::TcUnderlay, "under0"),
                    (Program::TcOverlay, "vx0"),
                    (Program::TcEndpoint, "ep0"),
                ] {
                    node.data_path.attach(program, device).unwrap();
                    assert!(node.data_path.attached(program, device).unwrap());
                }
            });
        }
    }

    /// What was dropped on both nodes, for a failure's message.
    pub(crate) fn drops(&self) -> String {
        format!("drops: {:?}", self.nodes.each_ref().map(|node| node.data_path.drops().unwrap()))
    }
}

impl Node {
    fn new(host: Netns, index: usize, family: UnderlayFamily, mtu: u16) -> Self {
        let vtep = match family {
            UnderlayFamily::V4 => ip(&format!("192.0.2.{}", index + 1)),
            UnderlayFamily::V6 => ip(&format!("2001:db8::{}", index + 1)),
        };
        let (length, nodad) = if vtep.is_ipv4() { (24, "") } else { (64, "nodad") };
        host.ip(&format!("addr add {vtep}/{length} dev under0 {nodad}"));
        host.ip("link set under0 up");
        host.ip(&format!("link add vx0 type vxlan external dstport {DATA_PORT} nolearning udp6zerocsumrx"));
        host.ip("link set vx0 up");
        let endpoint = cable(&host, "ep0", index, mtu);
        let bpffs = Bpffs::new();
        let data_path = host.enter(|| DataPath::open(&bpffs.dir()).unwrap().load().unwrap());
        Self { host, endpoint, data_path, vtep, _bpffs: bpffs }
    }

    fn fill(&mut self, index: usize, mtu: u16) {
        self.apply(TableAction::PutNode(NodeEntry {
            underlay_ifindex: self.host.ifindex("under0"),
            vxlan_ifindex: NonZeroU32::new(self.host.ifindex("vx0")),
            vtep: self.vtep,
            data_port: DATA_PORT,
            mark: MARK,
            idle: Idle::default(),
            egress: None,
        }));
        self.apply(TableAction::PutNetwork(
            vni(),
            NetworkEntry {
                mtu,
                gateway4: "10.1.0.1".parse().ok(),
                gateway6: "fd00:1::1".parse().ok(),
                internal: false,
            },
        ));
        for gateway in ["10.1.0.1", "fd00:1::1"] {
            self.apply(TableAction::PutNeighbour(vni(), ip(gateway), MacAddr::gateway(vni())));
        }
        for endpoint in 0..2 {
            for v6 in [false, true] {
                self.apply(TableAction::PutNeighbour(vni(), address(endpoint, v6), mac(endpoint)));
            }
        }
        self.introduce("ep0", index);
    }

    /// Tells the data path of endpoint `index` behind a device here.
    fn introduce(&mut self, device: &str, index: usize) {
        let ifindex = self.host.ifindex(device);
        let (IpAddr::V4(ip4), IpAddr::V6(ip6)) = (address(index, false), address(index, true)) else {
            unreachable!("one of each family");
        };
        let source = Source {
            vni: vni(),
            mac: mac(index),
            ip4: Some(ip4),
            ip6: Some(ip6),
            forward: false,
            serves: true,
        };
        self.apply(TableAction::PutSource(ifindex, source));
        self.apply(TableAction::PutFdb(vni(), mac(index), Destination::Local { ifindex }));
        for v6 in [false, true] {
            self.apply(TableAction::PutNeighbour(vni(), address(index, v6), mac(index)));
        }
    }

    /// One more endpoint here.
    pub(crate) fn add_endpoint(&mut self, device: &str, index: usize, mtu: u16) -> Netns {
        let endpoint = cable(&self.host, device, index, mtu);
        self.introduce(device, index);
        self.host.enter(|| self.data_path.attach(Program::TcEndpoint, device).unwrap());
        endpoint
    }

    pub(crate) fn apply(&mut self, action: TableAction) {
        self.data_path.apply(&action).unwrap();
    }

    pub(crate) fn detach(&mut self, program: Program, device: &str) {
        self.host.enter(|| {
            self.data_path.detach(program, device).unwrap();
            eventually("detached", || !self.data_path.attached(program, device).unwrap());
        });
    }
}

/// A namespace for endpoint `index`, and the veth pair that leads there.
fn cable(host: &Netns, device: &str, index: usize, mtu: u16) -> Netns {
    let endpoint = Netns::new();
    host.ip(&format!(
        "link add {device} mtu {mtu} type veth peer name eth0 address {} mtu {mtu} netns {}",
        mac(index),
        endpoint.path()
    ));
    host.ip(&format!("link set {device} up"));
    endpoint.ip(&format!("addr add {}/24 dev eth0", address(index, false)));
    endpoint.ip(&format!("addr add {}/64 dev eth0 nodad", address(index, true)));
    endpoint.ip("link set eth0 up");
    endpoint
}
