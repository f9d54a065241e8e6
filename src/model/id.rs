//! Identifiers: 128 random bits, written as 32 hexadecimal digits, shown as the first 12.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, serde_as_text};
use crate::hex;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 128 bits, which the caller draws at random.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 128 bits.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The first 12 digits, as listings show it.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(12);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                hex::decode(text).map(Self).ok_or_else(|| Invalid::new(format!("{text:?} is not an id of 32 hexadecimal digits")))
            }
        }

        serde_as_text!($name);
    };
}

id!(
    /// A node of the cluster, for as long as it is a member.
    NodeId
);
id!(
    /// A network.
    NetworkId
);
id!(
    /// An endpoint: one network namespace's interface in one network.
    EndpointId
);
id!(
    /// A service. One that is removed and made again under its name has another.
    ServiceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = NodeId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short(), "abababababab");
        assert!("abab".parse::<NodeId>().is_err());
        assert!("é".repeat(16).parse::<NodeId>().is_err());
    }
}
