//! What the BPF programs and the agent share: the maps' names, sizes, keys and values, and the reasons for
//! drops. A layout is never changed in place: raise [`ABI_VERSION`] instead, which gives the maps new pins.
//!
//! Numbers are in host byte order, addresses and MACs in the order of the wire. Every byte of padding is
//! explicit and zero, since hash maps compare keys byte by byte.
#![no_std]

macro_rules! shared {
    ($($(#[$doc:meta])* $name:ident: $size:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty = $offset:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
                // No implicit padding: the fields fill the struct.
                assert!($size == 0 $(+ size_of::<$type>())*);
            };

            // SAFETY: `repr(C)`, `Copy`, without implicit padding, and any bytes are a valid value.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
        )*
    };
}

mod drop_reason;
pub mod services;

pub use drop_reason::DropReason;
pub use overlay_packet::{Address, Mac};

/// The version of these layouts; the pins' directory is named after it.
pub const ABI_VERSION: u32 = 3 + cfg!(feature = "next-abi") as u32;

/// The programs' names.
pub mod program {
    /// Ingress of an endpoint's veth pair, host end.
    pub const TC_ENDPOINT: &str = "tc_endpoint";
    /// Ingress of the underlay device.
    pub const TC_UNDERLAY: &str = "tc_underlay";
    /// Ingress of the VXLAN device.
    pub const TC_OVERLAY: &str = "tc_overlay";
    /// Egress of the underlay device.
    pub const TC_GUARD: &str = "tc_guard";
    /// Ingress of loopback.
    pub const TC_LOCAL: &str = "tc_local";
    /// XDP on the underlay device.
    pub const XDP_UNDERLAY: &str = "xdp_underlay";
}

/// The maps' names and sizes.
pub mod map {
    /// Array with one [`crate::Node`]; an underlay index of 0 means that there is none yet.
    pub const NODE: &str = "NODE";
    /// VNI (`u32`) to [`crate::Network`].
    pub const NETWORKS: &str = "NETWORKS";
    /// [`crate::FdbKey`] to [`crate::Destination`].
    pub const FDB: &str = "FDB";
    /// [`crate::NeighbourKey`] to [`crate::Neighbour`].
    pub const NEIGHBOURS: &str = "NEIGHBOURS";
    /// [`crate::VtepKey`] to [`crate::Vtep`].
    pub const VTEPS: &str = "VTEPS";
    /// Interface index (`u32`) to [`crate::Source`].
    pub const SOURCES: &str = "SOURCES";
    /// Per CPU, by [`crate::DropReason`]: how many (`u64`).
    pub const DROPS: &str = "DROPS";
    pub use crate::services::map::*;

    /// All of them.
    pub const ALL: [&str; 18] = [
        NODE, NETWORKS, FDB, NEIGHBOURS, VTEPS, SOURCES, DROPS, PORTS, VIPS, SERVICES, BACKENDS, MAGLEV,
        LOCALS, ADDRESSES, FLOWS, COUNTERS, REFUSALS, AFFINITY,
    ];

    /// The most networks with an endpoint here.
    pub const NETWORKS_SIZE: u32 = 8192;
    /// The most endpoints in the networks that have one here.
    pub const FDB_SIZE: u32 = 131_072;
    /// The most addresses in the networks that have an endpoint here.
    pub const NEIGHBOURS_SIZE: u32 = 131_072;
    /// The most peers.
    pub const VTEPS_SIZE: u32 = 16_384;
    /// The most endpoints here.
    pub const SOURCES_SIZE: u32 = 8192;
    /// Room for reasons; more than there are, so that a new one does not change the map.
    pub const DROPS_SIZE: u32 = 64;
}

/// The gateway's MAC address in a network: its lower 24 bits are the VNI.
#[inline(always)]
pub const fn gateway_mac(vni: u32) -> Mac {
    let [_, high, middle, low] = vni.to_be_bytes();
    [0x02, 0x6f, 0x76, high, middle, low]
}

shared! {
    /// For how many seconds a flow is kept without a packet.
    Idle: 24 {
        /// TCP: opened, nothing more seen yet.
        syn: u32 = 0,
        /// TCP: going on.
        established: u32 = 4,
        /// TCP: an end has closed it.
        fin: u32 = 8,
        /// TCP: broken off.
        rst: u32 = 12,
        /// Others: one packet was seen.
        single: u32 = 16,
        /// Others: several were.
        stream: u32 = 20,
    }

    /// This node.
    Node: 92 {
        /// The underlay device's index; 0 means that the node is not configured.
        underlay_ifindex: u32 = 0,
        /// What marks our own packets for the guard.
        mark: u32 = 4,
        /// The VTEP's address.
        vtep: Address = 8,
        /// The data port, UDP.
        data_port: u16 = 24,
        /// See [`services::node_flag`].
        flags: u16 = 26,
        /// The VXLAN device's index; 0 when there is none.
        vxlan_ifindex: u32 = 28,
        /// The IPv4 address that endpoints seem to come from outside, or none.
        egress4: Address = 32,
        /// The same for IPv6.
        egress6: Address = 48,
        /// How long flows are kept.
        idle: Idle = 64,
        /// The first port that an endpoint seems to come from outside.
        first_port: u16 = 88,
        /// The last one; 0 while no endpoint may leave its network.
        last_port: u16 = 90,
    }

    /// A network.
    Network: 36 {
        /// The gateway's IPv4 address, or none.
        gateway4: Address = 0,
        /// The gateway's IPv6 address, or none.
        gateway6: Address = 16,
        /// The endpoints' MTU in bytes.
        mtu: u16 = 32,
        /// Not 0 when nothing leads out of it.
        internal: u8 = 34,
        /// Zero.
        padding: [u8; 1] = 35,
    }

    /// An endpoint's place in a network.
    FdbKey: 12 {
        /// The network.
        vni: u32 = 0,
        /// The endpoint's MAC address.
        mac: Mac = 4,
        /// Zero.
        padding: [u8; 2] = 10,
    }

    /// An address in a network.
    NeighbourKey: 20 {
        /// The network.
        vni: u32 = 0,
        /// The address.
        address: Address = 4,
    }

    /// Who has an address.
    Neighbour: 8 {
        /// Its MAC address.
        mac: Mac = 0,
        /// Zero.
        padding: [u8; 2] = 6,
    }

    /// A peer's VTEP.
    VtepKey: 16 {
        /// Its address.
        address: Address = 0,
    }

    /// A peer.
    Vtep: 4 {
        /// The largest inner IP packet that reaches it, in bytes.
        mtu: u16 = 0,
        /// Zero.
        padding: [u8; 2] = 2,
    }

    /// What a local endpoint may send as.
    Source: 44 {
        /// Its network.
        vni: u32 = 0,
        /// Its MAC address.
        mac: Mac = 4,
        /// Not 0 when it forwards for others: its source addresses are not checked.
        forward: u8 = 10,
        /// Not 0 when it is a service's backend.
        serves: u8 = 11,
        /// Its IPv4 address, or none.
        ip4: Address = 12,
        /// Its IPv6 address, or none.
        ip6: Address = 28,
    }
}

#[cfg(not(feature = "next-abi"))]
shared! {
    /// Where an endpoint is.
    Destination: 24 {
        /// The host's end of its veth pair, when it is here; 0 when it is on a peer.
        ifindex: u32 = 0,
        /// The peer's VTEP; none when it is here.
        vtep: Address = 4,
        /// Not 0 when it is on a peer and forwards for others: its source addresses are not checked.
        forward: u8 = 20,
        /// Zero.
        padding: [u8; 3] = 21,
    }
}

#[cfg(feature = "next-abi")]
shared! {
    /// Where an endpoint is, as a later release might lay it out: nothing is where it is now.
    Destination: 28 {
        /// What no program of the present layout could take for an interface.
        added: u32 = 0,
        /// The host's end of its veth pair, when it is here; 0 when it is on a peer.
        ifindex: u32 = 4,
        /// The peer's VTEP; none when it is here.
        vtep: Address = 8,
        /// Not 0 when it is on a peer and forwards for others: its source addresses are not checked.
        forward: u8 = 24,
        /// Zero.
        padding: [u8; 3] = 25,
    }
}

impl Destination {
    /// Behind a veth pair here, by the index of its host's end.
    #[inline(always)]
    pub const fn local(ifindex: u32) -> Self {
        Self::new(ifindex, Address::NONE, false)
    }

    /// On a peer, by its VTEP; `forward` if its source addresses are not checked.
    #[inline(always)]
    pub const fn remote(vtep: Address, forward: bool) -> Self {
        Self::new(0, vtep, forward)
    }

    #[inline(always)]
    const fn new(ifindex: u32, vtep: Address, forward: bool) -> Self {
        Self {
            #[cfg(feature = "next-abi")]
            added: u32::MAX,
            ifindex,
            vtep,
            forward: forward as u8,
            padding: [0; 3],
        }
    }
}

impl FdbKey {
    /// Of an endpoint.
    #[inline(always)]
    pub const fn new(vni: u32, mac: Mac) -> Self {
        Self { vni, mac, padding: [0; 2] }
    }
}

impl NeighbourKey {
    /// Of an address.
    #[inline(always)]
    pub const fn new(vni: u32, address: Address) -> Self {
        Self { vni, address }
    }
}
