//! What the programs know of services, and the flows that they keep.
//!
//! A published port or a virtual address leads to a service, that to a Maglev table, and a place of the table to a
//! backend's slot. A flow keeps its backend's slot with the generation that the backend had: where the slot has another
//! one by now, the flow's backend is gone.

use crate::{Address, Mac};

/// The maps' names and sizes.
pub mod map {
    /// Array by [`super::port_index`] of [`super::Port`].
    pub const PORTS: &str = "PORTS";
    /// [`crate::NeighbourKey`] to [`super::Vip`].
    pub const VIPS: &str = "VIPS";
    /// Array by a service's slot of [`super::Service`].
    pub const SERVICES: &str = "SERVICES";
    /// Array by a backend's slot of [`super::Backend`].
    pub const BACKENDS: &str = "BACKENDS";
    /// Array of [`super::Places`]: all Maglev tables, place behind place.
    pub const MAGLEV: &str = "MAGLEV";
    /// A local backend ([`crate::FdbKey`]) to its slot (`u32`).
    pub const LOCALS: &str = "LOCALS";
    /// The host's own addresses ([`crate::VtepKey`]) to 1 (`u32`), while a port is published.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// [`super::FlowKey`] to [`super::Flow`]; the kernel drops the least recently used.
    pub const FLOWS: &str = "FLOWS";
    /// [`super::AffinityKey`] to [`super::Affinity`]; the kernel drops the least recently used.
    pub const AFFINITY: &str = "AFFINITY";
    /// Per CPU, by a backend's slot: [`super::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// Per CPU, [`super::RefusalKey`] to how many packets (`u64`).
    pub const REFUSALS: &str = "REFUSALS";

    /// Both protocols' ports.
    pub const PORTS_SIZE: u32 = 2 * 65536;
    /// The most virtual addresses in the networks that have an endpoint here.
    pub const VIPS_SIZE: u32 = 65_536;
    /// One more than the most services; slot 0 is nobody's.
    pub const SERVICES_SIZE: u32 = 16_384;
    /// One more than the most backends; slot 0 is nobody's.
    pub const BACKENDS_SIZE: u32 = 65_536;
    /// Room for 2^22 places.
    pub const MAGLEV_SIZE: u32 = (1 << 22) / super::PLACES;
    /// The most local backends.
    pub const LOCALS_SIZE: u32 = 8192;
    /// The most addresses of the host.
    pub const ADDRESSES_SIZE: u32 = 4096;
    /// The most flows.
    pub const FLOWS_SIZE: u32 = 262_144;
    /// The most clients that stay with a backend.
    pub const AFFINITY_SIZE: u32 = 65_536;
    /// The most pairs of a service and a reason.
    pub const REFUSALS_SIZE: u32 = 65_536;
}

/// How many places of Maglev tables an element of the array has.
pub const PLACES: u32 = 4;

/// That many places: each is a backend's slot, 0 for none.
pub type Places = [u16; PLACES as usize];

/// Where a port is in [`map::PORTS`]. UDP's follow TCP's.
#[inline(always)]
pub const fn port_index(udp: bool, port: u16) -> u32 {
    (udp as u32) << 16 | port as u32
}

/// Bits of [`crate::Node::flags`].
pub mod node_flag {
    /// A network here has a virtual address.
    pub const VIPS: u16 = 1;
    /// A port is published.
    pub const MESH: u16 = 2;
}

/// Bits of [`Port::flags`].
pub mod port_flag {
    /// Backends see this node's address instead of the client's.
    pub const SNAT: u16 = 1;
    /// Only backends here serve it.
    pub const LOCAL_ONLY: u16 = 2;
}

/// Bits of [`Service::flags`].
pub mod service_flag {
    /// The slot is taken.
    pub const PRESENT: u32 = 1;
    /// Backends see the ingress node's address instead of the client's.
    pub const SNAT: u32 = 2;
    /// Without a backend, a client gets no answer at all.
    pub const DROP: u32 = 4;
}

/// What a [`FlowKey`] is for.
pub mod scope {
    /// At a node that a client came to: the packet as the client sent it, in no network.
    pub const MESH: u8 = 1;
    /// At a backend's node: the backend's answer to a client outside, which must seem to come from where it went.
    pub const RETURN: u8 = 2;
    /// At an endpoint's node: what it sends to a virtual address.
    pub const VIP: u8 = 3;
    /// At an endpoint's node: a backend's answer to it, which must seem to come from the virtual address.
    pub const VIP_RETURN: u8 = 4;
    /// At an endpoint's node: what it sends to the world outside.
    pub const EGRESS: u8 = 5;
    /// At an endpoint's node: an answer from outside, in no network.
    pub const EGRESS_RETURN: u8 = 6;
    /// At a node that a client came to: a backend's answer to the node, which the client waits for, in no network.
    pub const SNAT_RETURN: u8 = 7;
    /// Of a packet's later fragments: the ports are the two halves of its identification. The flow has the packet's own
    /// ports: the source's as its generation, the destination's as its port.
    pub const FRAGMENT: u8 = 8;
}

/// How far a flow is.
pub mod state {
    /// Not TCP.
    pub const NONE: u8 = 0;
    /// TCP: opened, nothing more seen yet.
    pub const SYN: u8 = 1;
    /// TCP: going on.
    pub const ESTABLISHED: u8 = 2;
    /// TCP: an end has closed it.
    pub const FIN: u8 = 3;
    /// TCP: broken off.
    pub const RST: u8 = 4;
}

shared! {
    /// A published port; service 0 means that nobody publishes it.
    Port: 8 {
        /// Its service's slot.
        service: u32 = 0,
        /// The backends' port.
        target: u16 = 4,
        /// See [`port_flag`].
        flags: u16 = 6,
    }

    /// Where a Maglev table is; size 0 means that there is none.
    Table: 16 {
        /// What it was made of.
        digest: u64 = 0,
        /// Its first place.
        offset: u32 = 8,
        /// How many places.
        size: u32 = 12,
    }

    /// A service's virtual address in one network.
    Vip: 24 {
        /// Of the backends in this network and family.
        table: Table = 0,
        /// The service's slot.
        service: u32 = 16,
        /// Zero.
        padding: u32 = 20,
    }

    /// A service, as its published ports need to know it.
    Service: 88 {
        /// By [`Service::table`].
        tables: [Table; 4] = 0,
        /// Its id.
        id: [u8; 16] = 64,
        /// For how many seconds a client stays with its backend; 0 if it does not.
        affinity: u32 = 80,
        /// See [`service_flag`].
        flags: u32 = 84,
    }

    /// A backend; generation 0 means that the slot is empty.
    Backend: 96 {
        /// Tells it from who had the slot before.
        generation: u32 = 0,
        /// Its service's slot.
        service: u32 = 4,
        /// Its network.
        vni: u32 = 8,
        /// The host's end of its veth pair, when it is here; 0 when it is on a peer.
        ifindex: u32 = 12,
        /// The peer's VTEP; none when it is here.
        vtep: Address = 16,
        /// Its IPv4 address, or none.
        ip4: Address = 32,
        /// Its IPv6 address, or none.
        ip6: Address = 48,
        /// The endpoint's id.
        endpoint: [u8; 16] = 64,
        /// Its MAC address.
        mac: Mac = 80,
        /// The largest inner IP packet that reaches it, in bytes; 0 when it is here.
        mtu: u16 = 86,
        /// Its share of new flows.
        weight: u16 = 88,
        /// Not 0 when it takes new flows.
        accepts: u16 = 90,
        /// Zero.
        padding: u32 = 92,
    }

    /// A flow's packets in one direction, as they arrive at the program that looks for it.
    FlowKey: 44 {
        /// From.
        source: Address = 0,
        /// To.
        destination: Address = 16,
        /// From, host byte order.
        source_port: u16 = 32,
        /// To, host byte order.
        destination_port: u16 = 34,
        /// The network; 0 outside of all.
        vni: u32 = 36,
        /// IP's number.
        protocol: u8 = 40,
        /// See [`scope`].
        scope: u8 = 41,
        /// Zero.
        padding: [u8; 2] = 42,
    }

    /// What becomes of a flow's packets. What every packet needs comes first, in as few of the CPU's cache lines as can be.
    Flow: 56 {
        /// When the last one was seen, in nanoseconds since the host's boot.
        seen: u64 = 0,
        /// The backend's slot, or 0 where none is kept; in [`scope::EGRESS`] and [`scope::EGRESS_RETURN`] the host's end of
        /// the endpoint's veth pair, by its index.
        backend: u32 = 8,
        /// The backend's generation.
        generation: u32 = 12,
        /// The network that its packets go to; 0 where they leave all.
        vni: u32 = 16,
        /// The port that goes with the address, host byte order.
        port: u16 = 20,
        /// See [`state`].
        state: u8 = 22,
        /// Zero.
        padding: u8 = 23,
        /// The address that takes the place of the one that was asked for, or answered from.
        address: Address = 24,
        /// The peer's VTEP that its packets go back through; none where they need no detour.
        via: Address = 40,
    }

    /// A client of a service whose clients stay with their backend.
    AffinityKey: 28 {
        /// Its address.
        client: Address = 0,
        /// The service's slot.
        service: u32 = 16,
        /// The network of the virtual address that it asks for; 0 for a published port.
        vni: u32 = 20,
        /// Not 0 when only backends here serve the port.
        local: u32 = 24,
    }

    /// Where a client's latest flow went.
    Affinity: 16 {
        /// When it began, in nanoseconds since the host's boot.
        seen: u64 = 0,
        /// The backend's slot.
        backend: u32 = 8,
        /// The backend's generation.
        generation: u32 = 12,
    }

    /// What clients sent to a backend by this node since the backend got its slot. What came of it is not looked at.
    Counter: 24 {
        /// How many flows began, or were first seen here.
        flows: u64 = 0,
        /// How many packets, before the kernel merged them.
        packets: u64 = 8,
        /// How many bytes, from the IP header on.
        bytes: u64 = 16,
    }

    /// Why a service's packets were dropped here.
    RefusalKey: 8 {
        /// The service's slot.
        service: u32 = 0,
        /// A [`crate::DropReason`]'s number.
        reason: u32 = 4,
    }
}

impl Service {
    /// Which of its tables has the backends with addresses of that family: all of them, or those that are here.
    #[inline(always)]
    pub const fn table(v6: bool, local: bool) -> usize {
        v6 as usize + 2 * local as usize
    }
}

impl FlowKey {
    /// Of packets from one address and port to another, host byte order.
    #[inline(always)]
    pub const fn new(
        scope: u8,
        vni: u32,
        protocol: u8,
        (source, source_port): (Address, u16),
        (destination, destination_port): (Address, u16),
    ) -> Self {
        Self { source, destination, source_port, destination_port, vni, protocol, scope, padding: [0; 2] }
    }
}
