//! Services: one name, one virtual address a network, some published ports, and the endpoints behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    Endpoint, EndpointId, Invalid, Labels, Name, NetworkId, Publish, Seconds, ServiceId, serde_as_text, words,
};

/// A service. Its backends are no part of it: they say themselves which service they belong to ([`Membership`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name, unique in the cluster.
    pub name: Name,
    /// The networks that it is in, at least one.
    pub networks: Vec<NetworkId>,
    /// What it publishes; no two services publish one port of one protocol.
    pub publish: Vec<Publish>,
    /// How clients inside its networks reach it.
    pub endpoint_mode: EndpointMode,
    /// The source address that its backends see on published ports.
    pub source_ip: SourceIp,
    /// Whether, and for how long, a client stays with its backend.
    pub affinity: Affinity,
    /// How long the flows of a backend go on after it was drained.
    pub stop_grace_period: Seconds,
    /// What a client gets while no backend is live.
    pub unavailable: Unavailable,
    /// One a network and family; none for [`EndpointMode::Dnsrr`].
    pub vips: Vec<Vip>,
    /// The backends that take no new flow, each with when it was drained, in seconds since the Unix epoch.
    pub drained: BTreeMap<EndpointId, u64>,
    /// The user's labels.
    pub labels: Labels,
}

impl Service {
    /// How long the flows of a drained backend go on if the user does not say: as long as Docker waits.
    pub const STOP_GRACE_PERIOD: Seconds = Seconds(10);

    /// Whether `endpoint` is one of its backends, as long as the endpoint's node is alive.
    pub fn is_backend(&self, endpoint: &Endpoint) -> bool {
        endpoint.service.as_ref().is_some_and(|membership| membership.service == self.name)
            && self.networks.contains(&endpoint.network)
    }

    /// Its virtual addresses in `network`.
    pub fn vips_in(&self, network: NetworkId) -> impl Iterator<Item = IpAddr> {
        self.vips.iter().filter(move |vip| vip.network == network).map(|vip| vip.address)
    }
}

/// A service's virtual address in one network. No endpoint has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vip {
    /// The network.
    pub network: NetworkId,
    /// The address.
    pub address: IpAddr,
}

words! {
    /// How clients inside a service's networks reach it.
    "endpoint mode",
    pub enum EndpointMode {
        /// By a virtual address, behind which flows are spread.
        #[default]
        Vip = "vip",
        /// By the backends' own addresses, which its name leads to.
        Dnsrr = "dnsrr",
    }
}

words! {
    /// The source address that backends see on published ports.
    "source IP mode",
    pub enum SourceIp {
        /// The client's; answers go from the backend's node to the client at once.
        #[default]
        Preserve = "preserve",
        /// The ingress node's, which answers return through.
        Snat = "snat",
    }
}

words! {
    /// What a client gets while no backend is live.
    "answer to clients without a backend",
    pub enum Unavailable {
        /// A TCP reset, or ICMP "port unreachable".
        #[default]
        Reject = "reject",
        /// Nothing.
        Drop = "drop",
    }
}

/// Whether a client stays with its backend from flow to flow. Written `none` or `client-ip:SECONDS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Each flow goes its own way.
    #[default]
    None,
    /// All flows of one client address go to one backend, until it has had none for so many seconds.
    ClientIp(NonZeroU32),
}

impl Affinity {
    /// For how long if the user does not say, in seconds: three hours, as others have it.
    const DEFAULT_SECONDS: NonZeroU32 = NonZeroU32::new(10_800).unwrap();

    /// For how many seconds; 0 for none.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::None => 0,
            Self::ClientIp(seconds) => seconds.get(),
        }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::ClientIp(seconds) => write!(f, "client-ip:{seconds}"),
        }
    }
}

impl FromStr for Affinity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(format!(
                "{text:?} is no affinity: none, client-ip or client-ip:SECONDS (at least 1)"
            ))
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "client-ip" => Ok(Self::ClientIp(Self::DEFAULT_SECONDS)),
            Some(("client-ip", seconds)) => seconds.parse().map(Self::ClientIp).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}

serde_as_text!(Affinity);

/// What an endpoint says of the service that it is a backend of. The service is named and not identified, so
/// that one that is removed and made again has its backends back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The service.
    pub service: Name,
    /// Its share of the service's flows.
    pub weight: Weight,
}

/// A backend's share of flows, relative to the other backends'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// The largest.
    pub const MAX: u16 = 1000;

    /// From 1 to [`Weight::MAX`].
    ///
    /// # Errors
    /// Outside of that.
    pub fn new(value: u16) -> Result<Self, Invalid> {
        match value {
            1..=Self::MAX => Ok(Self(value)),
            _ => Err(Invalid::new(format!("{value} is not a weight: 1 to {}", Self::MAX))),
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Weight {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let value = text.parse();
        Self::new(value.map_err(|_| Invalid::new(format!("{text:?} is not a weight: 1 to {}", Self::MAX)))?)
    }
}

impl TryFrom<u16> for Weight {
    type Error = Invalid;

    fn try_from(value: u16) -> Result<Self, Invalid> {
        Self::new(value)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinities() {
        for (text, seconds, shown) in [
            ("none", 0, "none"),
            ("client-ip", 10_800, "client-ip:10800"),
            ("client-ip:1", 1, "client-ip:1"),
            ("client-ip:4294967295", u32::MAX, "client-ip:4294967295"),
        ] {
            let affinity: Affinity = text.parse().unwrap();
            assert_eq!((affinity.seconds(), affinity.to_string().as_str()), (seconds, shown));
        }
        for bad in
            ["", "client-ip:", "client-ip:0", "client-ip:1h", "cookie", "none:5", "client-ip:4294967296"]
        {
            assert!(bad.parse::<Affinity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn weights_at_their_limits() {
        assert_eq!([1, 1000].map(|value| Weight::new(value).unwrap().get()), [1, 1000]);
        assert!(Weight::new(0).is_err() && Weight::new(1001).is_err());
        assert!(serde_json::from_str::<Weight>("0").is_err());
        assert!("-1".parse::<Weight>().is_err());
    }

    #[test]
    fn words_go_both_ways_and_an_unknown_one_names_the_others() {
        assert_eq!("dnsrr".parse(), Ok(EndpointMode::Dnsrr));
        assert_eq!(serde_json::to_string(&SourceIp::Snat).unwrap(), r#""snat""#);
        assert_eq!(
            "VIP".parse::<EndpointMode>().unwrap_err().to_string(),
            r#""VIP" is no endpoint mode: one of vip, dnsrr"#
        );
    }
}
