//! VXLAN network identifiers.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, serde_as_text};

/// A VXLAN network identifier: 24 bits, never 0 (RFC 7348, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

impl Vni {
    /// The largest one.
    pub const MAX: u32 = (1 << 24) - 1;

    /// From a number in host byte order.
    ///
    /// # Errors
    /// Outside of 1 to 16777215.
    pub fn new(value: u32) -> Result<Self, Invalid> {
        match value {
            1..=Self::MAX => Ok(Self(value)),
            _ => Err(Invalid::new(format!("{value} is not a VNI: 1 to {}", Self::MAX))),
        }
    }

    /// The number, in host byte order.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Vni {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let value = text.parse().map_err(|_| Invalid::new(format!("{text:?} is not a VNI")))?;
        Self::new(value)
    }
}

serde_as_text!(Vni);
