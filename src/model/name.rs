//! Names that users give to networks and endpoints.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, serde_as_text};

/// A name: a letter or digit, then letters, digits, `_`, `.` or `-`; at most 63 characters, one DNS label's
/// worth (RFC 1035, section 2.3.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The longest, in bytes.
    pub const MAX: usize = 63;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !first || !rest || text.len() > Self::MAX {
            return Err(Invalid::new(format!(
                "{text:?} is not a name: it starts with a letter or digit, goes on with letters, digits, '_', '.' or '-', and has at most {} of them",
                Self::MAX
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_suit_dns_and_files() {
        for good in ["mynet", "a", "0-a_b.c", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "a b", "a/b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
