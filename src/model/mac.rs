//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, Vni, serde_as_text};

/// A unicast Ethernet address (IEEE 802), in the order of the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// From its six bytes; a group address (the first byte's lowest bit set) and the zero address are refused.
    ///
    /// # Errors
    /// Says which of the two it is.
    pub fn new(bytes: [u8; 6]) -> Result<Self, Invalid> {
        if bytes == [0; 6] {
            return Err(Invalid::new("00:00:00:00:00:00 is no interface's MAC address"));
        }
        if bytes[0] & 1 == 1 {
            return Err(Invalid::new(format!("{} is a group MAC address, not one interface's", Self(bytes))));
        }
        Ok(Self(bytes))
    }

    /// A locally administered address made of 46 of the given bits.
    pub const fn local_from(bits: [u8; 6]) -> Self {
        Self([bits[0] & !0x01 | 0x02, bits[1], bits[2], bits[3], bits[4], bits[5]])
    }

    /// The gateway's address in a network: locally administered, its lower 24 bits the VNI, so that a frame
    /// for the gateway names its network wherever it goes.
    pub const fn gateway(vni: Vni) -> Self {
        let [_, high, middle, low] = vni.get().to_be_bytes();
        Self([0x02, 0x6f, 0x76, high, middle, low])
    }

    /// The six bytes, in the order of the wire.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let malformed = || Invalid::new(format!("{text:?} is not a MAC address like 02:00:00:00:00:01"));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(malformed)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| malformed())?;
        }
        if parts.next().is_some() {
            return Err(malformed());
        }
        Self::new(bytes)
    }
}

serde_as_text!(MacAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_malformed_addresses_are_refused() {
        assert_eq!("02:00:00:00:00:0a".parse::<MacAddr>().unwrap().bytes(), [2, 0, 0, 0, 0, 10]);
        for bad in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:00:00:00:00",
            "2:0:0:0:0:a",
            "02:00:00:00:00:0a:0b",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_gateways_address_carries_the_vni() {
        let mac = MacAddr::gateway(Vni::new(0x01_02_03).unwrap());
        assert_eq!(mac.bytes()[3..], [1, 2, 3]);
        assert_eq!(MacAddr::new(mac.bytes()), Ok(mac));
    }
}
