//! What the kernel says of a device, as far as the agent cares.

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};

use crate::kernel::Problem;

/// A network device.
#[derive(Debug, Clone, Default)]
pub(in crate::kernel) struct Device {
    pub(in crate::kernel) index: u32,
    pub(in crate::kernel) name: String,
    pub(in crate::kernel) up: bool,
    /// Whether both it and what it is linked to are up, and the kernel lets it send.
    pub(in crate::kernel) operational: bool,
    pub(in crate::kernel) loopback: bool,
    /// In bytes.
    pub(in crate::kernel) mtu: u32,
    pub(in crate::kernel) mac: Vec<u8>,
    /// A veth's other end, by its index in the namespace that it is in.
    pub(in crate::kernel) peer: Option<u32>,
    kind: Option<InfoKind>,
    /// Set for VXLAN devices.
    pub(in crate::kernel) vxlan: Option<VxlanDevice>,
}

/// What makes a VXLAN device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::kernel) struct VxlanDevice {
    /// The UDP port that it owns while it is up.
    pub(in crate::kernel) port: u16,
    /// Whether it is in collect-metadata mode.
    pub(in crate::kernel) external: bool,
}

impl Device {
    /// What kind of virtual device it is; none for a physical one.
    pub(in crate::kernel) fn kind(&self) -> Option<String> {
        self.kind.as_ref().map(ToString::to_string)
    }

    pub(in crate::kernel) fn is_veth(&self) -> bool {
        self.kind == Some(InfoKind::Veth)
    }

    /// The MTU, as far as a packet can make use of it: loopback's is 65,536.
    pub(in crate::kernel) fn mtu16(&self) -> u16 {
        u16::try_from(self.mtu).unwrap_or(u16::MAX)
    }

    /// The port of a VXLAN device that can be Overlay's.
    ///
    /// # Errors
    /// It is another kind of device.
    pub(in crate::kernel) fn our_vxlan_port(&self) -> Result<u16, Problem> {
        match self.vxlan {
            Some(VxlanDevice { port, external: true }) => Ok(port),
            _ => Err(Problem::new(
                format!("{} is there and is no VXLAN device in external mode, so not Overlay's", self.name),
                "set vxlan_device to a free name, or remove that device",
            )),
        }
    }
}

impl From<LinkMessage> for Device {
    fn from(message: LinkMessage) -> Self {
        let mut device = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                LinkAttribute::Address(mac) => device.mac = mac,
                LinkAttribute::OperState(state) => device.operational = state == State::Up,
                LinkAttribute::Link(index) => device.peer = Some(index),
                LinkAttribute::LinkInfo(infos) => device.read_info(infos),
                _ => {}
            }
        }
        device
    }
}

impl Device {
    fn read_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind),
                LinkInfo::Data(InfoData::Vxlan(data)) => self.vxlan = Some(VxlanDevice::from(data)),
                _ => {}
            }
        }
    }
}

impl From<Vec<InfoVxlan>> for VxlanDevice {
    fn from(data: Vec<InfoVxlan>) -> Self {
        let mut vxlan = Self::default();
        for info in data {
            match info {
                InfoVxlan::Port(port) => vxlan.port = port,
                InfoVxlan::CollectMetadata(external) => vxlan.external = external,
                _ => {}
            }
        }
        vxlan
    }
}
