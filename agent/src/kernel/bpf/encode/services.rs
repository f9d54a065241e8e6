//! What is about services.

use std::net::IpAddr;
use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use overlay::lb::{BackendSlot, Generation, Region, ServiceSlot, Slot, Table};
use overlay::model::{Affinity, EndpointId, MacAddr, ServiceId, SourceIp, Unavailable, Vni, Weight};
use overlay::reconcile::tables::{
    BackendEntry, Lookups, Place, PortEntry, ServiceEntry, ServiceTables, TableOfFamily, VipEntry,
};
use overlay_abi::services::{self as abi, node_flag, port_flag, service_flag};
use overlay_abi::{Address, map};

use super::{Encode, decode_optional, encode_optional};

/// What the core numbers and counts fits the maps.
const _: () = {
    assert!(ServiceSlot::MAX < map::SERVICES_SIZE);
    assert!(BackendSlot::MAX < map::BACKENDS_SIZE);
    assert!(BackendSlot::MAX <= u16::MAX as u32);
    assert!(Region::ROOM <= map::MAGLEV_SIZE * abi::PLACES);
    assert!(ServiceTables::ADDRESSES_MAX <= map::ADDRESSES_SIZE as usize);
};

impl Encode for Lookups {
    type Image = u16;

    fn encode(&self) -> u16 {
        flag(self.vips, node_flag::VIPS) | flag(self.ports, node_flag::MESH)
    }

    fn decode(image: &u16) -> Result<Self> {
        Ok(Self { vips: image & node_flag::VIPS != 0, ports: image & node_flag::MESH != 0 })
    }
}

impl Encode for PortEntry {
    type Image = abi::Port;

    fn encode(&self) -> abi::Port {
        abi::Port {
            service: self.service.get(),
            target: self.target,
            flags: flag(self.source_ip == SourceIp::Snat, port_flag::SNAT)
                | flag(self.local_only, port_flag::LOCAL_ONLY),
        }
    }

    fn decode(image: &abi::Port) -> Result<Self> {
        Ok(Self {
            service: decode_slot(image.service)?,
            target: image.target,
            source_ip: source_ip(image.flags & port_flag::SNAT != 0),
            local_only: image.flags & port_flag::LOCAL_ONLY != 0,
        })
    }
}

impl Encode for Option<Table> {
    type Image = abi::Table;

    fn encode(&self) -> abi::Table {
        self.map_or_else(abi::Table::default, |Table { region, digest }| abi::Table {
            digest,
            offset: region.offset(),
            size: region.size(),
        })
    }

    fn decode(image: &abi::Table) -> Result<Self> {
        if image.size == 0 {
            return Ok(None);
        }
        let region = Region::new(image.offset, image.size).context("a map holds a table beyond the array")?;
        Ok(Some(Table { region, digest: image.digest }))
    }
}

impl Encode for VipEntry {
    type Image = abi::Vip;

    fn encode(&self) -> abi::Vip {
        abi::Vip { table: self.table.encode(), service: self.service.get(), padding: 0 }
    }

    fn decode(image: &abi::Vip) -> Result<Self> {
        Ok(Self { service: decode_slot(image.service)?, table: Encode::decode(&image.table)? })
    }
}

impl Encode for ServiceEntry {
    type Image = abi::Service;

    fn encode(&self) -> abi::Service {
        let mut tables = [abi::Table::default(); 4];
        for (of_family, local) in [(self.all, false), (self.local, true)] {
            tables[abi::Service::table(false, local)] = of_family.v4.encode();
            tables[abi::Service::table(true, local)] = of_family.v6.encode();
        }
        abi::Service {
            tables,
            id: *self.service.as_bytes(),
            affinity: self.affinity.seconds(),
            flags: service_flag::PRESENT
                | flag(self.source_ip == SourceIp::Snat, service_flag::SNAT)
                | flag(self.unavailable == Unavailable::Drop, service_flag::DROP),
        }
    }

    fn decode(image: &abi::Service) -> Result<Self> {
        let table = |v6, local| Encode::decode(&image.tables[abi::Service::table(v6, local)]);
        let of_family =
            |local| -> Result<_> { Ok(TableOfFamily { v4: table(false, local)?, v6: table(true, local)? }) };
        Ok(Self {
            service: ServiceId::from_bytes(image.id),
            all: of_family(false)?,
            local: of_family(true)?,
            affinity: NonZeroU32::new(image.affinity).map_or(Affinity::None, Affinity::ClientIp),
            source_ip: source_ip(image.flags & service_flag::SNAT != 0),
            unavailable: match image.flags & service_flag::DROP {
                0 => Unavailable::Reject,
                _ => Unavailable::Drop,
            },
        })
    }
}

impl Encode for BackendEntry {
    type Image = abi::Backend;

    fn encode(&self) -> abi::Backend {
        let (ifindex, vtep, mtu) = match self.place {
            Place::Local { ifindex } => (ifindex, Address::NONE, 0),
            Place::Remote { vtep, mtu } => (0, vtep.encode(), mtu),
        };
        abi::Backend {
            generation: self.generation.number(),
            service: self.service.get(),
            vni: self.vni.encode(),
            ifindex,
            vtep,
            ip4: encode_optional(self.ip4),
            ip6: encode_optional(self.ip6),
            endpoint: *self.endpoint.as_bytes(),
            mac: self.mac.encode(),
            mtu,
            weight: self.weight.get(),
            accepts: self.accepts.into(),
            padding: 0,
        }
    }

    fn decode(image: &abi::Backend) -> Result<Self> {
        Ok(Self {
            service: decode_slot(image.service)?,
            endpoint: EndpointId::from_bytes(image.endpoint),
            generation: Generation::from_number(image.generation)
                .context("a map holds a backend without a generation")?,
            vni: Vni::decode(&image.vni)?,
            mac: MacAddr::decode(&image.mac)?,
            ip4: decode_optional(image.ip4)?,
            ip6: decode_optional(image.ip6)?,
            place: match image.ifindex {
                0 => Place::Remote { vtep: IpAddr::decode(&image.vtep)?, mtu: image.mtu },
                ifindex => Place::Local { ifindex },
            },
            weight: Weight::new(image.weight).context("a map holds a weight that is none")?,
            accepts: image.accepts != 0,
        })
    }
}

/// From a map's number of it.
pub(in crate::kernel::bpf) fn decode_slot<S: Slot>(number: u32) -> Result<S> {
    S::new(number).with_context(|| format!("a map holds the slot {number}, which there is not"))
}

fn flag<T: Default>(set: bool, flag: T) -> T {
    if set { flag } else { T::default() }
}

const fn source_ip(snat: bool) -> SourceIp {
    if snat { SourceIp::Snat } else { SourceIp::Preserve }
}

#[cfg(test)]
mod tests {
    use super::super::tests::survives;
    use super::*;

    fn table(digest: u64, offset: u32) -> Option<Table> {
        Some(Table { region: Region::new(offset, 251).unwrap(), digest })
    }

    #[test]
    fn every_entry_survives_the_round_trip() {
        let service = ServiceSlot::new(ServiceSlot::MAX).unwrap();
        for source_ip in [SourceIp::Preserve, SourceIp::Snat] {
            for local_only in [false, true] {
                survives(&PortEntry { service, target: 80, source_ip, local_only });
                survives(&Lookups { vips: source_ip == SourceIp::Snat, ports: local_only });
            }
            for (affinity, unavailable) in
                [("none", Unavailable::Reject), ("client-ip:10800", Unavailable::Drop)]
            {
                survives(&ServiceEntry {
                    service: ServiceId::from_bytes([7; 16]),
                    all: TableOfFamily { v4: table(1, 0), v6: table(2, 251) },
                    local: TableOfFamily { v4: table(3, 502), v6: None },
                    affinity: affinity.parse().unwrap(),
                    source_ip,
                    unavailable,
                });
            }
        }
        for table in [table(1, Region::ROOM - 251), None] {
            survives(&VipEntry { service, table });
        }
        let vtep = "2001:db8::1".parse().unwrap();
        for place in [Place::Local { ifindex: 7 }, Place::Remote { vtep, mtu: 1430 }] {
            for accepts in [false, true] {
                let endpoint = EndpointId::from_bytes([9; 16]);
                survives(&BackendEntry {
                    service,
                    endpoint,
                    generation: Generation::of(ServiceId::from_bytes([7; 16]), endpoint),
                    vni: Vni::new(4097).unwrap(),
                    mac: "02:00:00:00:00:01".parse().unwrap(),
                    ip4: "10.1.0.1".parse().ok(),
                    ip6: "fd00::1".parse().ok(),
                    place,
                    weight: Weight::new(1000).unwrap(),
                    accepts,
                });
            }
        }
    }

    #[test]
    fn what_no_agent_writes_is_refused() {
        assert!(
            PortEntry::decode(&abi::Port { service: ServiceSlot::MAX + 1, target: 1, flags: 0 }).is_err()
        );
        let beyond = abi::Table { digest: 0, offset: Region::ROOM, size: 1 };
        assert!(Option::<Table>::decode(&beyond).is_err());
        assert!(BackendEntry::decode(&abi::Backend { generation: 1, ..Default::default() }).is_err());
    }
}
