//! Frames for the golden tables, built by etherparse: nothing here shares code with the programs.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpEcn,
    IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader,
};

pub(crate) type Mac = [u8; 6];

/// An IP packet; the family is the addresses'.
#[derive(Clone)]
pub(crate) struct Ip {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hops: u8,
    pub(crate) ecn: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// In units of 8 bytes.
    pub(crate) fragment_offset: u16,
    /// IPv4's.
    pub(crate) identification: u16,
    /// IPv4's, a multiple of 4 bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Ip {
    pub(crate) fn new(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        Self {
            source,
            destination,
            protocol,
            hops: 64,
            ecn: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            identification: 0,
            options: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    /// UDP between fixed ports.
    pub(crate) fn udp(source: IpAddr, destination: IpAddr, port: u16, payload: &[u8]) -> Self {
        Self::new(source, destination, 17, &udp(40000, port, payload))
    }

    /// A UDP datagram with its checksum.
    pub(crate) fn datagram(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Self {
        let mut header = UdpHeader {
            source_port: source.1,
            destination_port: destination.1,
            length: 8 + payload.len() as u16,
            checksum: 0,
        };
        header.checksum = match (source.0, destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
            }
            mixed => panic!("two families: {mixed:?}"),
        }
        .unwrap();
        Self::new(source.0, destination.0, 17, &[&header.to_bytes()[..], payload].concat())
    }

    /// A TCP segment, its header changed as told, with its checksum.
    pub(crate) fn segment(
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
        payload: &[u8],
        change: impl FnOnce(&mut TcpHeader),
    ) -> Self {
        let mut header = TcpHeader::new(source.1, destination.1, 7, 512);
        change(&mut header);
        header.checksum = match (source.0, destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
            }
            mixed => panic!("two families: {mixed:?}"),
        }
        .unwrap();
        Self::new(source.0, destination.0, 6, &[&header.to_bytes()[..], payload].concat())
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// It in two fragments, of which the first has so many units of 8 bytes.
    pub(crate) fn fragments(&self, identification: u16, units: u16) -> [Self; 2] {
        let (first, rest) = self.payload.split_at(usize::from(units) * 8);
        [(first, true, 0), (rest, false, units)].map(|(part, more, offset)| {
            let mut fragment = self.clone();
            if self.source.is_ipv4() {
                fragment.dont_fragment = false;
                (fragment.identification, fragment.more_fragments) = (identification, more);
                (fragment.fragment_offset, fragment.payload) = (offset, part.to_vec());
            } else {
                let [[high, low], [a, b]] =
                    [offset << 3 | u16::from(more), identification].map(u16::to_be_bytes);
                fragment.payload = [&[self.protocol, 0, high, low, 0xab, 0xcd, a, b], part].concat();
                fragment.protocol = 44;
            }
            fragment
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ecn = IpEcn::try_new(self.ecn).unwrap();
        let length = self.payload.len() as u16;
        let mut bytes = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let protocol = IpNumber(self.protocol);
                let mut header =
                    Ipv4Header::new(length, self.hops, protocol, source.octets(), destination.octets())
                        .unwrap();
                header.options = self.options[..].try_into().unwrap();
                header.set_payload_len(self.payload.len()).unwrap();
                header.ecn = ecn;
                header.identification = self.identification;
                header.dont_fragment = self.dont_fragment;
                header.more_fragments = self.more_fragments;
                header.fragment_offset = IpFragOffset::try_new(self.fragment_offset).unwrap();
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = Ipv6Header {
                    payload_length: length,
                    next_header: IpNumber(self.protocol),
                    hop_limit: self.hops,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                header.set_ecn(ecn);
                header.to_bytes().to_vec()
            }
            mixed => panic!("two families: {mixed:?}"),
        };
        bytes.extend(&self.payload);
        bytes
    }
}

pub(crate) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let header = UdpHeader {
        source_port: source,
        destination_port: destination,
        length: 8 + payload.len() as u16,
        checksum: 0,
    };
    [&header.to_bytes()[..], payload].concat()
}

pub(crate) fn ethernet(source: Mac, destination: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header { source, destination, ether_type: EtherType(ether_type) };
    [&header.to_bytes()[..], payload].concat()
}

/// A frame with an IP packet.
pub(crate) fn frame(source: Mac, destination: Mac, packet: &Ip) -> Vec<u8> {
    ethernet(source, destination, if packet.source.is_ipv4() { 0x0800 } else { 0x86dd }, &packet.bytes())
}

/// A VXLAN payload: the header with these flags, and the inner frame.
pub(crate) fn vxlan(flags: u8, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    [&[flags, 0, 0, 0, a, b, c, 0], inner].concat()
}

pub(crate) fn arp(source: Mac, operation: u8, sender: (Mac, IpAddr), target: (Mac, IpAddr)) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        let IpAddr::V4(address) = address else { panic!("ARP is IPv4's") };
        body.extend(mac);
        body.extend(address.octets());
    }
    let destination = if operation == 1 { [0xff; 6] } else { target.0 };
    ethernet(source, destination, 0x0806, &body)
}

/// An ICMP or ICMPv6 message with its checksum.
pub(crate) fn icmp(source: IpAddr, destination: IpAddr, message: &[u8]) -> Ip {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let protocol = match (source, destination) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut sum = [from.octets(), to.octets()].concat();
            sum.extend((message.len() as u32).to_be_bytes());
            sum.extend([0, 0, 0, 58]);
            sum.extend(&message);
            message[2..4].copy_from_slice(&checksum(&sum));
            58
        }
        _ => {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum);
            1
        }
    };
    Ip::new(source, destination, protocol, &message)
}

/// What tells the sender of a datagram that nobody serves its port, from where it went.
pub(crate) fn port_unreachable(packet: &Ip) -> Ip {
    let (head, quoted) = if packet.source.is_ipv4() { ([3, 3, 0, 0], 28) } else { ([1, 4, 0, 0], 48) };
    let message = [&head[..], &[0; 4], &packet.bytes()[..quoted + packet.options.len()]].concat();
    icmp(packet.destination, packet.source, &message)
}

/// What tells a packet's sender, from that address, which size fits.
pub(crate) fn too_big(packet: &Ip, from: IpAddr, mtu: u16) -> Ip {
    let head = if packet.source.is_ipv4() { [3, 4, 0, 0, 0, 0] } else { [2, 0, 0, 0, 0, 0] };
    let message = [&head[..], &mtu.to_be_bytes(), &packet.bytes()[..512]].concat();
    icmp(from, packet.source, &message)
}

/// What a router, or the packet's receiver, says of a packet that went no further: it quotes the IP header and eight bytes.
pub(crate) fn time_exceeded(from: IpAddr, packet: &Ip) -> Ip {
    let (head, quoted) = if packet.source.is_ipv4() { ([11, 0], 28) } else { ([3, 0], 48) };
    icmp(from, packet.source, &[&head[..], &[0; 6], &packet.bytes()[..quoted]].concat())
}

/// What breaks a connection off, from its other end (RFC 9293, section 3.10.7.1).
pub(crate) fn reset(packet: &Ip) -> Ip {
    let (asked, payload) = TcpHeader::from_slice(&packet.payload).unwrap();
    let length = payload.len() as u32 + u32::from(asked.syn) + u32::from(asked.fin);
    let next = asked.sequence_number.wrapping_add(length);
    let ends = [(packet.destination, asked.destination_port), (packet.source, asked.source_port)];
    Ip::segment(ends[0], ends[1], b"", |header| {
        header.window_size = 0;
        header.rst = true;
        header.ack = !asked.ack;
        header.sequence_number = if asked.ack { asked.acknowledgment_number } else { 0 };
        header.acknowledgment_number = if asked.ack { 0 } else { next };
    })
}

/// The Internet checksum as RFC 1071 words it.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) * 256 + u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = match (sum % 0xffff) as u16 {
        0 if sum != 0 => 0xffff,
        rest => rest,
    };
    (!folded).to_be_bytes()
}

/// An echo request or its answer.
pub(crate) fn echo(source: IpAddr, destination: IpAddr, reply: bool) -> Ip {
    const DATA: &[u8] = b"overlay echo payload";
    let echo = IcmpEchoHeader { id: 7, seq: 9 };
    let (header, protocol) = match (source, destination) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let kind = if reply { Icmpv6Type::EchoReply(echo) } else { Icmpv6Type::EchoRequest(echo) };
            let header = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), DATA).unwrap();
            (header.to_bytes().to_vec(), 58)
        }
        _ => {
            let kind = if reply { Icmpv4Type::EchoReply(echo) } else { Icmpv4Type::EchoRequest(echo) };
            (Icmpv4Header::with_checksum(kind, DATA).to_bytes().to_vec(), 1)
        }
    };
    Ip::new(source, destination, protocol, &[&header[..], DATA].concat())
}

/// A Neighbour Discovery message: its type, flags, target, and link-layer address option.
pub(crate) fn ndp(
    source: IpAddr,
    destination: IpAddr,
    (kind, flags): (u8, u8),
    target: IpAddr,
    option: Option<(u8, Mac)>,
) -> Ip {
    let IpAddr::V6(target) = target else { panic!("ND is IPv6's") };
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    if let Some((kind, mac)) = option {
        message.extend([kind, 1]);
        message.extend(mac);
    }
    icmp(source, destination, &message).with(|ip| ip.hops = 255)
}
