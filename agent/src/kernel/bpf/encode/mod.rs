//! The core's types and the programs' types, each as the other: the only place that knows both.

mod flows;
mod services;

pub(super) use flows::decode_flow;
pub(super) use services::decode_slot;

use std::net::IpAddr;
use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use overlay::config::Idle;
use overlay::model::{MacAddr, PortRange, Vni};
use overlay::reconcile::tables::{Destination, Egress, NetworkEntry, NodeEntry, Source, VtepEntry};
use overlay_abi::{self as abi, Address};

/// A core type that has an image in a map.
pub(super) trait Encode: Sized {
    /// The image.
    type Image;

    /// As the programs read it.
    fn encode(&self) -> Self::Image;

    /// As the core reads it; an error for what [`Encode::encode`] never yields.
    fn decode(image: &Self::Image) -> Result<Self>;
}

impl Encode for IpAddr {
    type Image = Address;

    fn encode(&self) -> Address {
        (*self).into()
    }

    fn decode(image: &Address) -> Result<Self> {
        Ok((*image).into())
    }
}

impl Encode for MacAddr {
    type Image = abi::Mac;

    fn encode(&self) -> abi::Mac {
        self.bytes()
    }

    fn decode(image: &abi::Mac) -> Result<Self> {
        Self::new(*image).context("a map holds a MAC address that is none")
    }
}

impl Encode for Vni {
    type Image = u32;

    fn encode(&self) -> u32 {
        self.get()
    }

    fn decode(image: &u32) -> Result<Self> {
        Self::new(*image).context("a map holds a VNI that is none")
    }
}

impl Encode for NodeEntry {
    type Image = abi::Node;

    fn encode(&self) -> abi::Node {
        abi::Node {
            underlay_ifindex: self.underlay_ifindex,
            mark: self.mark,
            vtep: self.vtep.encode(),
            data_port: self.data_port,
            flags: 0,
            vxlan_ifindex: self.vxlan_ifindex.map_or(0, NonZeroU32::get),
            idle: self.idle.encode(),
            egress4: encode_optional(self.egress.and_then(|egress| egress.ip4)),
            egress6: encode_optional(self.egress.and_then(|egress| egress.ip6)),
            first_port: self.egress.map_or(0, |egress| egress.ports.first()),
            last_port: self.egress.map_or(0, |egress| egress.ports.last()),
        }
    }

    fn decode(image: &abi::Node) -> Result<Self> {
        Ok(Self {
            underlay_ifindex: image.underlay_ifindex,
            vxlan_ifindex: NonZeroU32::new(image.vxlan_ifindex),
            vtep: IpAddr::decode(&image.vtep)?,
            data_port: image.data_port,
            mark: image.mark,
            idle: Idle::decode(&image.idle)?,
            egress: match image.last_port {
                0 => None,
                last => Some(Egress {
                    ip4: decode_optional(image.egress4)?,
                    ip6: decode_optional(image.egress6)?,
                    ports: PortRange::new(image.first_port, last)?,
                }),
            },
        })
    }
}

impl Encode for Idle {
    type Image = abi::Idle;

    fn encode(&self) -> abi::Idle {
        abi::Idle {
            syn: self.tcp_syn,
            established: self.tcp_established,
            fin: self.tcp_fin,
            rst: self.tcp_rst,
            single: self.udp,
            stream: self.udp_stream,
        }
    }

    fn decode(image: &abi::Idle) -> Result<Self> {
        Ok(Self {
            tcp_syn: image.syn,
            tcp_established: image.established,
            tcp_fin: image.fin,
            tcp_rst: image.rst,
            udp: image.single,
            udp_stream: image.stream,
        })
    }
}

impl Encode for NetworkEntry {
    type Image = abi::Network;

    fn encode(&self) -> abi::Network {
        abi::Network {
            gateway4: encode_optional(self.gateway4),
            gateway6: encode_optional(self.gateway6),
            mtu: self.mtu,
            internal: self.internal.into(),
            padding: [0; 1],
        }
    }

    fn decode(image: &abi::Network) -> Result<Self> {
        Ok(Self {
            mtu: image.mtu,
            gateway4: decode_optional(image.gateway4)?,
            gateway6: decode_optional(image.gateway6)?,
            internal: image.internal != 0,
        })
    }
}

impl Encode for Destination {
    type Image = abi::Destination;

    fn encode(&self) -> abi::Destination {
        match *self {
            Self::Local { ifindex } => abi::Destination::local(ifindex),
            Self::Remote { vtep, forward } => abi::Destination::remote(vtep.encode(), forward),
        }
    }

    fn decode(image: &abi::Destination) -> Result<Self> {
        Ok(match image.ifindex {
            0 => Self::Remote { vtep: IpAddr::decode(&image.vtep)?, forward: image.forward != 0 },
            ifindex => Self::Local { ifindex },
        })
    }
}

impl Encode for VtepEntry {
    type Image = abi::Vtep;

    fn encode(&self) -> abi::Vtep {
        abi::Vtep { mtu: self.mtu, padding: [0; 2] }
    }

    fn decode(image: &abi::Vtep) -> Result<Self> {
        Ok(Self { mtu: image.mtu })
    }
}

impl Encode for Source {
    type Image = abi::Source;

    fn encode(&self) -> abi::Source {
        abi::Source {
            vni: self.vni.encode(),
            mac: self.mac.encode(),
            forward: self.forward.into(),
            serves: self.serves.into(),
            ip4: encode_optional(self.ip4),
            ip6: encode_optional(self.ip6),
        }
    }

    fn decode(image: &abi::Source) -> Result<Self> {
        Ok(Self {
            vni: Vni::decode(&image.vni)?,
            mac: MacAddr::decode(&image.mac)?,
            ip4: decode_optional(image.ip4)?,
            ip6: decode_optional(image.ip6)?,
            forward: image.forward != 0,
            serves: image.serves != 0,
        })
    }
}

impl Encode for (Vni, MacAddr) {
    type Image = abi::FdbKey;

    fn encode(&self) -> abi::FdbKey {
        abi::FdbKey::new(self.0.encode(), self.1.encode())
    }

    fn decode(image: &abi::FdbKey) -> Result<Self> {
        Ok((Vni::decode(&image.vni)?, MacAddr::decode(&image.mac)?))
    }
}

impl Encode for (Vni, IpAddr) {
    type Image = abi::NeighbourKey;

    fn encode(&self) -> abi::NeighbourKey {
        abi::NeighbourKey::new(self.0.encode(), self.1.encode())
    }

    fn decode(image: &abi::NeighbourKey) -> Result<Self> {
        Ok((Vni::decode(&image.vni)?, IpAddr::decode(&image.address)?))
    }
}

fn encode_optional(address: Option<impl Into<IpAddr>>) -> Address {
    address.map_or(Address::NONE, |address| address.into().encode())
}

/// Of the family that is wanted; the other one is an error.
fn decode_optional<T: FromAddress>(image: Address) -> Result<Option<T>> {
    if image.is_none() {
        return Ok(None);
    }
    let address = IpAddr::decode(&image)?;
    T::from_address(address)
        .map(Some)
        .with_context(|| format!("a map holds {address} in the other family's place"))
}

trait FromAddress: Sized {
    fn from_address(address: IpAddr) -> Option<Self>;
}

impl FromAddress for std::net::Ipv4Addr {
    fn from_address(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }
    }
}

impl FromAddress for std::net::Ipv6Addr {
    fn from_address(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn survives<T: Encode + PartialEq + std::fmt::Debug>(value: &T) {
        assert_eq!(&T::decode(&value.encode()).unwrap(), value);
    }

    #[test]
    fn every_entry_survives_the_round_trip() {
        let vni = Vni::new(0x01_02_03).unwrap();
        let mac: MacAddr = "02:00:00:00:00:01".parse().unwrap();
        for vtep in ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
            for vxlan_ifindex in [None, NonZeroU32::new(4)] {
                survives(&NodeEntry {
                    underlay_ifindex: 3,
                    vxlan_ifindex,
                    vtep,
                    data_port: 4789,
                    mark: 0x6f76,
                    idle: Idle {
                        tcp_syn: 1,
                        tcp_established: 2,
                        tcp_fin: 3,
                        tcp_rst: 4,
                        udp: 5,
                        udp_stream: 6,
                    },
                    egress: vxlan_ifindex.map(|_| Egress {
                        ip4: "192.0.2.9".parse().ok(),
                        ip6: None,
                        ports: PortRange::ABOVE_EPHEMERAL,
                    }),
                });
            }
            for forward in [false, true] {
                survives(&Destination::Remote { vtep, forward });
            }
            survives(&(vni, vtep));
        }
        survives(&(vni, mac));
        survives(&Destination::Local { ifindex: 7 });
        survives(&VtepEntry { mtu: 1450 });
        let (ip4, ip6) = ("10.1.0.1".parse().ok(), "fd00::1".parse().ok());
        for (ip4, ip6) in [(ip4, ip6), (ip4, None), (None, ip6), (None, None)] {
            for internal in [false, true] {
                survives(&NetworkEntry { mtu: 1450, gateway4: ip4, gateway6: ip6, internal });
            }
            for (forward, serves) in [(false, true), (true, false)] {
                survives(&Source { vni, mac, ip4, ip6, forward, serves });
            }
        }
    }

    #[test]
    fn what_no_agent_writes_is_refused() {
        assert!(Vni::decode(&0).is_err());
        assert!(MacAddr::decode(&[0xff; 6]).is_err());
        let swapped = abi::Network {
            gateway4: Address([0xfd; 16]),
            gateway6: Address::NONE,
            mtu: 1450,
            internal: 0,
            padding: [0; 1],
        };
        assert!(NetworkEntry::decode(&swapped).is_err());
    }

    #[test]
    fn both_sides_derive_the_same_gateway() {
        let vni = Vni::new(0x01_02_03).unwrap();
        assert_eq!(abi::gateway_mac(vni.get()), MacAddr::gateway(vni).bytes());
    }
}
