//! Ports that a service is reached on from outside of its networks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, serde_as_text, words};

words! {
    /// A transport protocol with ports.
    "protocol",
    pub enum Protocol {
        /// TCP.
        #[default]
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

words! {
    /// Where a published port is open.
    "publish mode",
    pub enum PublishMode {
        /// On every node, whichever holds the backends.
        #[default]
        Ingress = "ingress",
        /// On the nodes that hold a backend, for their own backends.
        Host = "host",
    }
}

impl Protocol {
    /// As people write it in a sentence.
    pub const fn upper(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Ports in a row, never port 0. Written `8080` or `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// What Linux leaves free above the range of its own sockets, 32768 to 60999 (`net.ipv4.ip_local_port_range`).
    pub const ABOVE_EPHEMERAL: Self = Self { first: 61_000, last: u16::MAX };

    /// From the first and the last port.
    ///
    /// # Errors
    /// Port 0, and a range that ends before it starts.
    pub fn new(first: u16, last: u16) -> Result<Self, Invalid> {
        if first == 0 {
            return Err(Invalid::new("port 0 is no port: 1 to 65535"));
        }
        if first > last {
            return Err(Invalid::new(format!("the port range {first}-{last} ends before it starts")));
        }
        Ok(Self { first, last })
    }

    /// The first port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port, which belongs to it.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// The ports, in order.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// Whether `port` is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The lowest port that both have.
    pub fn shared(self, other: Self) -> Option<u16> {
        let first = self.first.max(other.first);
        (first <= self.last.min(other.last)).then_some(first)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |part: &str| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits).ok_or_else(|| {
                Invalid::new(format!("{text:?} is neither a port like 8080 nor a range like 8000-8010"))
            })
        };
        Self::new(port(first)?, port(last)?)
    }
}

serde_as_text!(PortRange);

/// A published port, or a range of them, and what it leads to on the backends: a range's ports one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Publish {
    published: PortRange,
    target: u16,
    protocol: Protocol,
    mode: PublishMode,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Publish")]
struct Unchecked {
    published: PortRange,
    target: u16,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    mode: PublishMode,
}

impl Publish {
    /// `target` is the backends' port that the first published one leads to.
    ///
    /// # Errors
    /// Port 0, and a range that leads beyond port 65535.
    pub fn new(
        published: PortRange,
        target: u16,
        protocol: Protocol,
        mode: PublishMode,
    ) -> Result<Self, Invalid> {
        if target == 0 {
            return Err(Invalid::new("the target port 0 is no port: 1 to 65535"));
        }
        if target.checked_add(published.last - published.first).is_none() {
            return Err(Invalid::new(format!(
                "the ports {published} would lead to targets from {target} to beyond 65535"
            )));
        }
        Ok(Self { published, target, protocol, mode })
    }

    /// The ports that clients reach.
    pub const fn published(&self) -> PortRange {
        self.published
    }

    /// The backends' ports, as many as published ones.
    pub const fn targets(&self) -> PortRange {
        PortRange { first: self.target, last: self.target + (self.published.last - self.published.first) }
    }

    /// The backends' port that `published` leads to.
    pub const fn target_of(&self, published: u16) -> Option<u16> {
        if self.published.contains(published) {
            Some(self.target + (published - self.published.first))
        } else {
            None
        }
    }

    /// The protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where it is open.
    pub const fn mode(&self) -> PublishMode {
        self.mode
    }

    /// The lowest port that both publish.
    pub fn clash(&self, other: &Self) -> Option<u16> {
        if self.protocol == other.protocol { self.published.shared(other.published) } else { None }
    }
}

impl TryFrom<Unchecked> for Publish {
    type Error = Invalid;

    fn try_from(from: Unchecked) -> Result<Self, Invalid> {
        Self::new(from.published, from.target, from.protocol, from.mode)
    }
}

impl From<Publish> for Unchecked {
    fn from(Publish { published, target, protocol, mode }: Publish) -> Self {
        Self { published, target, protocol, mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(published: &str, target: u16) -> Result<Publish, Invalid> {
        Publish::new(published.parse()?, target, Protocol::Tcp, PublishMode::Ingress)
    }

    #[test]
    fn ranges_at_their_limits() {
        for (text, first, last) in
            [("1", 1, 1), ("65535", 65535, 65535), ("1-65535", 1, 65535), ("7-7", 7, 7)]
        {
            let range: PortRange = text.parse().unwrap();
            assert_eq!((range.first(), range.last()), (first, last));
        }
        assert_eq!("7-7".parse::<PortRange>().unwrap().to_string(), "7");
        for bad in ["", "0", "0-9", "9-8", "65536", "+80", "80-", "-80", "8 0", "1-2-3", "http"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_leads_one_to_one_and_never_beyond_the_last_port() {
        let range = publish("8000-8010", 80).unwrap();
        assert_eq!(range.targets().to_string(), "80-90");
        assert_eq!(
            [7999, 8000, 8010, 8011].map(|port| range.target_of(port)),
            [None, Some(80), Some(90), None]
        );
        assert_eq!(publish("1-2", 65534).unwrap().target_of(2), Some(65535));
        assert_eq!(publish("1-65535", 1).unwrap().target_of(65535), Some(65535));
        for (published, target) in [("1-2", 65535), ("1-65535", 2), ("80", 0)] {
            assert!(publish(published, target).is_err(), "{published} {target}");
        }
    }

    #[test]
    fn clashes_are_of_one_protocol() {
        let (one, other) = (publish("8000-8010", 80).unwrap(), publish("8005-9000", 1).unwrap());
        assert_eq!(one.clash(&other), Some(8005));
        assert_eq!(one.clash(&publish("8011", 80).unwrap()), None);
        let udp = Publish::new(one.published(), 80, Protocol::Udp, PublishMode::Host).unwrap();
        assert_eq!(one.clash(&udp), None);
    }

    #[test]
    fn json_is_checked() {
        let text = r#"{"published":"8080","target":80,"protocol":"udp","mode":"host"}"#;
        let parsed: Publish = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), text);
        assert!(serde_json::from_str::<Publish>(r#"{"published":"1-2","target":65535}"#).is_err());
        assert!(
            serde_json::from_str::<Publish>(r#"{"published":"1","target":1,"protocol":"sctp"}"#).is_err()
        );
    }
}
