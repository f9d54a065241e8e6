//! Tables that no plan leads to.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::lb::{BackendSlot, Generation, Region, ServiceSlot, Slot as _, Table};
use crate::model::{Affinity, EndpointId, Protocol, ServiceId, SourceIp, Unavailable, Vni, Weight};
use crate::reconcile::properties::mac;
use crate::reconcile::tables::{
    BackendEntry, Lookups, Place, PortEntry, ServiceEntry, ServiceTables, TableOfFamily, VipEntry,
};

/// As the tables may be after something else wrote them.
pub(super) fn garbage() -> impl Strategy<Value = ServiceTables> {
    let slots = || 1u32..6;
    let services = || slots().prop_map(|slot| ServiceSlot::new(slot).unwrap());
    let backends = || slots().prop_map(|slot| BackendSlot::new(slot).unwrap());
    let table = || {
        let region =
            (0u32..4, 1u32..4).prop_map(|(offset, size)| Region::new(offset * 100, size * 100).unwrap());
        prop::option::of((region, 0u64..3).prop_map(|(region, digest)| Table { region, digest }))
    };
    let vni = || (4096u32..4100).prop_map(|vni| Vni::new(vni).unwrap());
    let port = services().prop_map(|service| PortEntry {
        service,
        target: 80,
        source_ip: SourceIp::Snat,
        local_only: false,
    });
    let vip = (services(), table()).prop_map(|(service, table)| VipEntry { service, table });
    let service = (1u8..4, table(), table()).prop_map(|(id, v4, v6)| ServiceEntry {
        service: ServiceId::from_bytes([id; 16]),
        all: TableOfFamily { v4, v6 },
        local: TableOfFamily::default(),
        affinity: Affinity::None,
        source_ip: SourceIp::Preserve,
        unavailable: Unavailable::Drop,
    });
    let backend =
        (services(), 10u8..20, 1u8..4, vni(), any::<bool>()).prop_map(|(slot, n, id, vni, here)| {
            let endpoint = EndpointId::from_bytes([n; 16]);
            BackendEntry {
                service: slot,
                endpoint,
                generation: Generation::of(ServiceId::from_bytes([id; 16]), endpoint),
                vni,
                mac: mac(n),
                ip4: None,
                ip6: None,
                place: match here {
                    true => Place::Local { ifindex: 1 },
                    false => Place::Remote { vtep: IpAddr::from([192, 0, 2, 9]), mtu: 1450 },
                },
                weight: Weight::default(),
                accepts: true,
            }
        });
    (
        prop::collection::btree_map((Just(Protocol::Tcp), 1u16..8), port, 0..6),
        prop::collection::btree_map((vni(), Just(IpAddr::from([10, 1, 0, 101]))), vip, 0..3),
        prop::collection::btree_map(services(), service, 0..6),
        prop::collection::btree_map(backends(), backend, 0..6),
        prop::collection::btree_map((vni(), (10u8..13).prop_map(mac)), backends(), 0..3),
        prop::collection::btree_set((1u8..4).prop_map(|n| IpAddr::from([192, 0, 2, n])), 0..3),
        (any::<bool>(), any::<bool>()).prop_map(|(vips, ports)| Lookups { vips, ports }),
    )
        .prop_map(|(ports, vips, services, backends, locals, addresses, lookups)| ServiceTables {
            ports,
            vips,
            services,
            backends,
            locals,
            addresses,
            lookups,
        })
}
