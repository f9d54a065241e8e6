//! Values as users write them, with errors that say what they should look like.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use overlay::config::Config;

/// One `--opt` of `network create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkOption {
    /// The endpoints' MTU in bytes.
    Mtu(u16),
}

/// A manager's address, the default port if none is given.
pub(super) fn manager(text: &str) -> Result<SocketAddr, String> {
    let port = Config::default().api_port;
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address goes in brackets: [{text}]:{port}"));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    text.parse().map_err(|_| format!("not an address like 10.0.0.1:{port} or [fd00::1]:{port}"))
}

/// A subnet in CIDR notation.
pub(super) fn subnet(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| "not a subnet like 10.1.0.0/16 or fd00:1::/64".to_owned())
}

/// A label.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not a label like team=web".to_owned()),
    }
}

/// An option of a network.
pub(super) fn network_option(text: &str) -> Result<NetworkOption, String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "mtu" => value
            .parse()
            .map(NetworkOption::Mtu)
            .map_err(|_| format!("mtu is a number of bytes up to {}, as in mtu=1400", u16::MAX)),
        _ => {
            Err(format!("no network option is called {key:?}\nhint: the only option is mtu, as in mtu=1400"))
        }
    }
}

/// A network namespace. A relative path is made absolute here, because the agent's working folder is another.
pub(super) fn netns(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a name as in `ip netns`, a path, or a process id is needed".to_owned());
    }
    if !text.contains('/') {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).map_err(|error| error.to_string())?;
    path.into_os_string().into_string().map_err(|_| "the path is not UTF-8".to_owned())
}

/// A whole number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "not a whole number of seconds".to_owned())
}
