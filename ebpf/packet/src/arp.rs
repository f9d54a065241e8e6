//! ARP for IPv4 over Ethernet (RFC 826), and the answer to a request.

use crate::{Address, Mac, be16, ethernet};

/// The length of a frame with its Ethernet header.
pub const FRAME_LEN: usize = ethernet::LEN + 28;

/// What the data path reads of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Whether it asks; else it answers or announces.
    pub request: bool,
    /// The sender's claimed MAC address.
    pub sender_mac: Mac,
    /// The sender's claimed address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Address,
    /// The address that is asked for.
    pub target: Address,
}

/// Reads a frame; `None` when it is not ARP for IPv4 over Ethernet.
#[inline(always)]
pub fn parse(frame: &[u8; FRAME_LEN]) -> Option<Packet> {
    let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, h0, h1, p0, p1, hl, pl, ..] = *frame;
    if [h0, h1, p0, p1, hl, pl] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let operation = be16(frame, 20);
    if operation != 1 && operation != 2 {
        return None;
    }
    Some(Packet {
        request: operation == 1,
        sender_mac: [frame[22], frame[23], frame[24], frame[25], frame[26], frame[27]],
        sender: Address::v4([frame[28], frame[29], frame[30], frame[31]]),
        target: Address::v4([frame[38], frame[39], frame[40], frame[41]]),
    })
}

/// The answer to a request, for its sender: `mac` has the address that was asked for.
#[inline(always)]
pub fn reply(request: &Packet, mac: Mac) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let header = ethernet::Header::new(request.sender_mac, mac, ethernet::ARP);
    frame[..14].copy_from_slice(&header.bytes());
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&request.target.last4());
    frame[32..38].copy_from_slice(&request.sender_mac);
    frame[38..42].copy_from_slice(&request.sender.last4());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; FRAME_LEN] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
        10, 1, 0, 2, 0, 0, 0, 0, 0, 0, 10, 1, 0, 3,
    ];

    #[test]
    fn the_answer_names_the_owner() {
        let request = parse(&REQUEST).unwrap();
        assert!(request.request);
        assert_eq!(request.target, Address::v4([10, 1, 0, 3]));
        let answer = parse(&reply(&request, [2, 0, 0, 0, 0, 9])).unwrap();
        assert!(!answer.request);
        assert_eq!(answer.sender, request.target);
        assert_eq!(answer.sender_mac, [2, 0, 0, 0, 0, 9]);
        assert_eq!(answer.target, request.sender);
    }

    #[test]
    fn other_hardware_protocols_and_operations_are_refused() {
        for at in [15, 16, 18, 19, 21] {
            let mut frame = REQUEST;
            frame[at] = 9;
            assert_eq!(parse(&frame), None, "byte {at}");
        }
    }
}
