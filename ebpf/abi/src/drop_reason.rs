//! Why a packet was dropped.

macro_rules! reasons {
    ($($name:ident = $number:literal, $text:literal, $meaning:literal;)*) => {
        /// Why a program dropped a packet. The numbers are the DROPS map's indices and never change; the names
        /// are the metrics' labels.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum DropReason {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl DropReason {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, and what to do about it, for users.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

reasons! {
    UnknownSource = 1, "unknown_source",
        "A frame came from a device that no endpoint is known behind; it passes once the attach is complete.";
    NoNode = 2, "no_node",
        "This node's underlay is not known to the data path yet; check `overlayctl status` if it lasts.";
    Truncated = 3, "truncated",
        "A packet ended inside of its headers; look for the sender that produces it.";
    Malformed = 4, "malformed",
        "An IP header contradicts itself or its packet; look for the sender that produces it.";
    SpoofedMac = 5, "spoofed_mac",
        "An endpoint sent from a MAC address that is not its own; endpoints can't bridge or change their MAC.";
    SpoofedAddress = 6, "spoofed_address",
        "An endpoint sent from an IP address that is not its own; use the address that Overlay gave it, masquerade what is routed through it, or attach it with `--forward`.";
    LinkLocalSource = 7, "link_local_source",
        "An endpoint sent unicast from an IPv6 link-local address, which does not cross the overlay; bind to its own address.";
    SpoofedNeighbour = 8, "spoofed_neighbour",
        "An endpoint claimed another's address in ARP or Neighbour Discovery; find out what it tries to take over.";
    NotIp = 9, "not_ip",
        "A frame was neither IPv4, IPv6 nor ARP, which is all that the overlay carries; usually harmless.";
    Vlan = 10, "vlan",
        "A frame had a VLAN tag, which the overlay does not carry; use a network of its own instead.";
    Broadcast = 11, "broadcast",
        "A broadcast, which the overlay does not carry; addresses are Overlay's to give, so nothing needs DHCP.";
    Multicast = 12, "multicast",
        "A multicast, which the overlay does not carry; usually harmless (mDNS, IGMP).";
    RouterSolicitation = 13, "router_solicitation",
        "An endpoint looked for IPv6 routers; harmless, as its addresses and routes are set for it.";
    RouterAdvertisement = 14, "router_advertisement",
        "An endpoint posed as an IPv6 router; stop what sends router advertisements in it.";
    MulticastListener = 15, "multicast_listener",
        "An endpoint told which IPv6 multicast groups it joined; harmless, every Linux interface does.";
    DuplicateProbe = 16, "duplicate_probe",
        "An endpoint asked whether its address is taken; harmless, Overlay gives each address once.";
    Announcement = 17, "announcement",
        "An endpoint announced its own address, or answered for it; harmless, as the data path answers for all.";
    MalformedNeighbour = 18, "malformed_neighbour",
        "An ARP or Neighbour Discovery packet was not well-formed, hid behind other headers or was a redirect; look for the sender that produces it.";
    UnknownNeighbour = 19, "unknown_neighbour",
        "An endpoint asked for an address that nobody in its network has; check the address it connects to.";
    NoEgress = 20, "no_egress",
        "A packet for outside of its network that does not leave it: neither TCP, UDP nor a ping, of a family that this node's underlay has no address of, or for the node itself; check `overlayctl status`, or ask another address.";
    UnknownDestination = 21, "unknown_destination",
        "A frame for a MAC address that nobody in its network has; a sender's stale neighbour entry if it passes.";
    UnknownNetwork = 22, "unknown_network",
        "A packet of a network that has no endpoint on this node; a sender's stale entry if it passes.";
    UnknownVtep = 23, "unknown_vtep",
        "A packet from or for a node that is not a live member of the cluster; check `overlayctl node ls`.";
    TooBig = 24, "too_big",
        "A packet did not fit the way to its node and could not be answered; lower the sender's MTU to the network's.";
    EncapFailed = 25, "encap_failed",
        "The kernel refused to add the outer headers, and there was no VXLAN device to do it; check `overlayctl status`.";
    DecapFailed = 26, "decap_failed",
        "The kernel refused to remove the outer headers; report it with the kernel's version.";
    RewriteFailed = 27, "rewrite_failed",
        "The kernel refused to change a packet, mostly for want of memory; report it with the kernel's version.";
    NoVni = 28, "no_vni",
        "A VXLAN packet without a VNI; look for what else sends to the data port.";
    NotOwner = 29, "not_owner",
        "A node sent for an endpoint that is not its own; an endpoint that just moved if it passes, a forgery if not.";
    SpoofedInner = 30, "spoofed_inner",
        "A node sent from an inner address that is not the endpoint's; a stale entry if it passes, a forgery if not.";
    NotHere = 31, "not_here",
        "A packet for an endpoint that is not on this node; one that just moved if it passes.";
    CongestionUnmarked = 32, "congestion_unmarked",
        "The underlay marked congestion on a packet that can't carry the mark (RFC 6040); TCP slows down as intended.";
    NoTunnelKey = 33, "no_tunnel_key",
        "A packet reached the VXLAN device without a tunnel; something on the host injects packets there.";
    NotOurVtep = 34, "not_our_vtep",
        "A VXLAN packet for another address than this node's VTEP; check the advertised address.";
    ForeignSender = 35, "foreign_sender",
        "A local process sent to the data port, which is Overlay's alone; find it with `ss -uap`.";
    Unreadable = 36, "unreadable",
        "A packet had more IPv6 extension headers than anyone needs, so what is behind them can't be checked; find what sends it.";
    NotFromUnderlay = 37, "not_from_underlay",
        "A VXLAN packet came to this node by another way than its underlay device, as from a local process or container; find what sends to the data port.";
    NoBackend = 38, "no_backend",
        "A client came to a service that has no backend which could take it; check `overlayctl service ps`.";
    NotPublished = 39, "not_published",
        "A node passed a client's packet on to an endpoint that does not serve the port; a service that just changed if it passes, a forgery if not.";
    NoHopsLeft = 40, "no_hops_left",
        "A packet for outside has been through as many routers as it may; check the sender's time to live.";
    NotServed = 41, "not_served",
        "A packet for a service's virtual address that was neither TCP nor UDP nor a ping; address the backend itself.";
    NoPort = 42, "no_port",
        "All ports that this node may use for that destination are taken by other flows; give it more (`egress_ports`) or spread the clients.";
    BackendGone = 43, "backend_gone",
        "A packet of a connection whose backend is gone; its client was told, and connects anew.";
    NotAnswer = 44, "not_answer",
        "A node sent back what nobody here had asked its backend for; a flow that just ended if it passes, a forgery if not.";
    UnknownFragment = 45, "unknown_fragment",
        "A fragment came before the first of its datagram, which tells where it goes; the sender repeats it.";
    Internal = 46, "internal",
        "An endpoint of an internal network sent to the world outside; attach it to a network that leads there.";
    UnknownError = 47, "unknown_error",
        "An ICMP error was about a flow that is not known here; usually harmless, as flows end.";
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn numbers_fit_the_map_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index + 1);
            assert!((*reason as u32) < crate::map::DROPS_SIZE);
            assert!(names.insert(reason.name()), "{}", reason.name());
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            assert!(reason.meaning().ends_with('.'));
        }
    }
}
