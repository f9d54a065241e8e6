//! Packets that end anywhere, and say so: their IP headers' lengths and checksums are right. And whether what the data path
//! makes of one is whole, by etherparse.

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4Header, Ipv6Header, TcpSlice};

use crate::lab::DATA_PORT;

const ETHERNET: usize = 14;
/// UDP's header, VXLAN's, and the inner Ethernet header's.
const TO_INNER: usize = 8 + 8 + ETHERNET;

/// A frame's IP packet, by its headers.
struct Packet {
    v6: bool,
    protocol: u8,
    /// Where what it carries starts, from the start of its IP header.
    payload: usize,
    /// Its length by its own account.
    total: usize,
    addresses: Vec<u8>,
}

/// What the IP header at the start of these bytes says.
fn read(v6: bool, bytes: &[u8]) -> Result<Packet, String> {
    if v6 {
        let (header, _) = Ipv6Header::from_slice(bytes).map_err(|error| error.to_string())?;
        let addresses = [header.source, header.destination].concat();
        let total = 40 + usize::from(header.payload_length);
        return Ok(Packet { v6, protocol: header.next_header.0, payload: 40, total, addresses });
    }
    let (header, _) = Ipv4Header::from_slice(bytes).map_err(|error| error.to_string())?;
    if header.header_checksum != header.calc_header_checksum() {
        return Err("IPv4's checksum".to_owned());
    }
    let addresses = [header.source, header.destination].concat();
    let protocol = if header.is_fragmenting_payload() { 0 } else { header.protocol.0 };
    Ok(Packet { v6, protocol, payload: header.header_len(), total: header.total_len.into(), addresses })
}

/// The family of a frame's packet, if it is IP: whether it is IPv6.
fn family(frame: &[u8]) -> Option<bool> {
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(false),
        [0x86, 0xdd] => Some(true),
        _ => None,
    }
}

/// Where the frame in a VXLAN packet starts, from the start of its IP header.
fn inner(packet: &Packet, bytes: &[u8]) -> Option<usize> {
    let port = bytes.get(packet.payload + 2..packet.payload + 4)?;
    let is_vxlan = packet.protocol == 17 && port == DATA_PORT.to_be_bytes();
    (is_vxlan && bytes.len() >= packet.payload + TO_INNER).then_some(packet.payload + TO_INNER - ETHERNET)
}

/// The frame in a VXLAN packet, or the frame itself.
fn innermost(frame: &[u8]) -> &[u8] {
    let packet = family(frame).and_then(|v6| read(v6, &frame[ETHERNET..]).ok());
    match packet.and_then(|packet| inner(&packet, &frame[ETHERNET..])) {
        Some(at) => innermost(&frame[ETHERNET + at..]),
        None => frame,
    }
}

/// Every length below `whole`, from `shortest` on. Of what is longer than a wire's frames, every one at both ends: between
/// them, nothing but payload is missing.
pub(crate) fn lengths(shortest: usize, whole: usize) -> impl Iterator<Item = usize> {
    const WIRE: usize = 1514;
    const END: usize = 256;
    const STEP: usize = 61;
    let counts = move |length: &usize| {
        whole <= WIRE || *length < END || *length + END >= whole || length.is_multiple_of(STEP)
    };
    (shortest..whole).filter(counts)
}

/// The frame cut to every length that its headers allow.
pub(crate) fn each(frame: &[u8]) -> Vec<Vec<u8>> {
    let shortest = match family(frame) {
        Some(v6) => ETHERNET + if v6 { 40 } else { 20 },
        None => return Vec::new(),
    };
    lengths(shortest, frame.len())
        .map(|length| {
            let mut cut = frame[..length].to_vec();
            end(&mut cut);
            cut
        })
        .collect()
}

/// Has the headers say that the frame ends where it does. What cannot be so is left as it is.
fn end(frame: &mut [u8]) {
    let (Some(v6), length) = (family(frame), frame.len() - ETHERNET) else { return };
    let Ok(packet) = read(v6, &frame[ETHERNET..]) else { return };
    let bytes = &mut frame[ETHERNET..];
    if v6 {
        bytes[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    } else if packet.payload <= length {
        bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let (header, _) = Ipv4Header::from_slice(bytes).unwrap();
        bytes[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
    if let Some(at) = inner(&packet, bytes) {
        let udp = packet.payload;
        let carried = (length - udp) as u16;
        bytes[udp + 4..udp + 6].copy_from_slice(&carried.to_be_bytes());
        let frame = &mut bytes[at..];
        if family(frame).is_some_and(|v6| frame.len() >= ETHERNET + if v6 { 40 } else { 20 }) {
            end(frame);
        }
    }
}

/// What is wrong with a frame that was made of another one.
pub(crate) fn fault(of: &[u8], frame: &[u8]) -> Option<String> {
    let v6 = family(frame)?;
    let bytes = &frame[ETHERNET..];
    let packet = match read(v6, bytes) {
        Ok(packet) => packet,
        Err(fault) => return Some(fault),
    };
    if packet.total != bytes.len() {
        return Some(format!("{} bytes that say they are {}", bytes.len(), packet.total));
    }
    match inner(&packet, bytes) {
        Some(at) => fault(of, &bytes[at..]),
        None => wrong_answer(of, &packet, &bytes[packet.payload..]),
    }
}

/// What is wrong with an answer that the data path made by itself: with an ICMP error about anything else, or a reset.
fn wrong_answer(of: &[u8], packet: &Packet, payload: &[u8]) -> Option<String> {
    let of = innermost(of);
    let asked = family(of).and_then(|v6| read(v6, &of[ETHERNET..]).ok())?;
    let resets = |payload: &[u8]| payload.get(13).is_some_and(|flags| flags & 4 != 0);
    if asked.protocol == packet.protocol && (packet.protocol != 6 || resets(&of[ETHERNET + asked.payload..]))
    {
        return None;
    }
    let ends = &packet.addresses;
    let sum_is_right = match (packet.protocol, packet.v6) {
        (1, false) => Icmpv4Slice::from_slice(payload)
            .map_err(|error| error.to_string())
            .map(|icmp| icmp.icmp_type().calc_checksum(icmp.payload()) == icmp.checksum()),
        (58, true) => Icmpv6Slice::from_slice(payload).map_err(|error| error.to_string()).map(|icmp| {
            icmp.is_checksum_valid(ends[..16].try_into().unwrap(), ends[16..].try_into().unwrap())
        }),
        (6, _) if resets(payload) => {
            TcpSlice::from_slice(payload).map_err(|error| error.to_string()).map(|tcp| {
                let sum = match packet.v6 {
                    false => {
                        tcp.calc_checksum_ipv4(ends[..4].try_into().unwrap(), ends[4..].try_into().unwrap())
                    }
                    true => {
                        tcp.calc_checksum_ipv6(ends[..16].try_into().unwrap(), ends[16..].try_into().unwrap())
                    }
                };
                sum.is_ok_and(|sum| sum == tcp.checksum())
            })
        }
        _ => return None,
    };
    match sum_is_right {
        Ok(true) => None,
        Ok(false) => Some("the answer's checksum".to_owned()),
        Err(fault) => Some(fault),
    }
}
