//! The agent's configuration: one parsed, validated struct. A TOML file gives it, flags override it.

mod error;
mod idle;
mod validate;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use idle::Idle;

use crate::model::PortRange;

/// The agent's configuration. Everything has a default; every port, path and interface name can be changed,
/// because all of them clash with something somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's name for people; the machine's host name if left out.
    pub hostname: Option<String>,
    /// What survives a restart: identity, intent, attachments.
    pub state_dir: PathBuf,
    /// The local API's Unix socket.
    pub socket: PathBuf,
    /// The group whose members may use it besides root.
    pub socket_group: Option<String>,
    /// Where programs, links and maps are pinned: a folder on a mounted bpffs, made if missing.
    pub bpf_dir: PathBuf,
    /// The VXLAN port, UDP.
    pub data_port: u16,
    /// The gossip port, UDP and TCP.
    pub gossip_port: u16,
    /// The manager API's port, TCP.
    pub api_port: u16,
    /// The address that other nodes reach this one at, if `cluster init` and `cluster join` name none.
    pub advertise_addr: Option<IpAddr>,
    /// The VXLAN device's name, at most 15 bytes.
    pub vxlan_device: String,
    /// What the host ends of endpoints' veth pairs start with, 1 to 4 bytes.
    pub veth_prefix: String,
    /// For how many seconds after this agent was stopped in good order the other nodes keep its endpoints: its data path
    /// goes on. 0: no longer than after a crash, which is some five.
    pub restart_hold: u16,
    /// At which hook clients' packets for published ports are passed on.
    pub mesh_hook: MeshHook,
    /// What is logged, as `tracing-subscriber`'s filter: `info`, `overlayd=debug`, …
    pub log: String,
    /// The ports that endpoints seem to come from outside, TCP and UDP. Not to overlap with those of the host's own sockets
    /// (`net.ipv4.ip_local_port_range`).
    pub egress_ports: PortRange,
    /// How long flows are kept without a packet.
    pub idle: Idle,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: None,
            state_dir: "/var/lib/overlay".into(),
            socket: "/run/overlay/overlayd.sock".into(),
            socket_group: None,
            bpf_dir: "/sys/fs/bpf/overlay".into(),
            data_port: 4789,
            gossip_port: 7946,
            api_port: 2377,
            advertise_addr: None,
            vxlan_device: "overlay0".into(),
            veth_prefix: "ovl".into(),
            restart_hold: 120,
            mesh_hook: MeshHook::Auto,
            log: "info".into(),
            egress_ports: PortRange::ABOVE_EPHEMERAL,
            idle: Idle::default(),
        }
    }
}

impl Config {
    /// Every key of the file, sorted; those of a table behind its name and a dot.
    pub const KEYS: [&'static str; 21] = [
        "advertise_addr",
        "api_port",
        "bpf_dir",
        "data_port",
        "egress_ports",
        "gossip_port",
        "hostname",
        "idle.tcp_established",
        "idle.tcp_fin",
        "idle.tcp_rst",
        "idle.tcp_syn",
        "idle.udp",
        "idle.udp_stream",
        "log",
        "mesh_hook",
        "restart_hold",
        "socket",
        "socket_group",
        "state_dir",
        "veth_prefix",
        "vxlan_device",
    ];

    /// Reads a configuration file's text. What it leaves out has its default.
    ///
    /// # Errors
    /// What is wrong with it, with the line for syntax and types.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let malformed = |error: toml::de::Error| ConfigError::Malformed { what: error.to_string() };
        // The keys come first: what serde says of an unknown one does not name the one that was meant.
        let table: toml::Table = toml::from_str(text).map_err(malformed)?;
        if let Some(key) = keys(&table).into_iter().find(|key| !is_known(key)) {
            return Err(ConfigError::UnknownKey { nearest: nearest(&key), key });
        }
        let config: Self = toml::from_str(text).map_err(malformed)?;
        config.validate()?;
        Ok(config)
    }
}

/// At which hook the routing mesh runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeshHook {
    /// XDP on a physical device that takes it, else tc.
    #[default]
    Auto,
    /// XDP, in the driver's own receive path.
    Xdp,
    /// tc, which every device has.
    Tc,
}

impl FromStr for MeshHook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "xdp" => Ok(Self::Xdp),
            "tc" => Ok(Self::Tc),
            _ => Err("a hook is one of auto, xdp, tc".to_owned()),
        }
    }
}

/// What flags set; it wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented at Config")]
pub struct Overrides {
    pub hostname: Option<String>,
    pub state_dir: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub bpf_dir: Option<PathBuf>,
    pub data_port: Option<u16>,
    pub gossip_port: Option<u16>,
    pub api_port: Option<u16>,
    pub advertise_addr: Option<IpAddr>,
    pub vxlan_device: Option<String>,
    pub veth_prefix: Option<String>,
    pub mesh_hook: Option<MeshHook>,
    pub log: Option<String>,
}

impl Overrides {
    /// `config` with what is set here in its place.
    ///
    /// # Errors
    /// What makes the result invalid.
    pub fn apply(self, config: Config) -> Result<Config, ConfigError> {
        let config = Config {
            hostname: self.hostname.or(config.hostname),
            state_dir: self.state_dir.unwrap_or(config.state_dir),
            socket: self.socket.unwrap_or(config.socket),
            bpf_dir: self.bpf_dir.unwrap_or(config.bpf_dir),
            data_port: self.data_port.unwrap_or(config.data_port),
            gossip_port: self.gossip_port.unwrap_or(config.gossip_port),
            api_port: self.api_port.unwrap_or(config.api_port),
            advertise_addr: self.advertise_addr.or(config.advertise_addr),
            vxlan_device: self.vxlan_device.unwrap_or(config.vxlan_device),
            veth_prefix: self.veth_prefix.unwrap_or(config.veth_prefix),
            mesh_hook: self.mesh_hook.unwrap_or(config.mesh_hook),
            log: self.log.unwrap_or(config.log),
            ..config
        };
        config.validate()?;
        Ok(config)
    }
}

/// The keys of a table, in its order; those of a table in it behind its name and a dot.
fn keys(table: &toml::Table) -> Vec<String> {
    let keys = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(inner) if !inner.is_empty() => {
            inner.keys().map(|inner| format!("{key}.{inner}")).collect()
        }
        _ => vec![key.clone()],
    });
    keys.collect()
}

/// Whether the key, or a table of that name, is there. A wrong type is for serde to name.
fn is_known(key: &str) -> bool {
    let is_table = |known: &str| known.split_once('.').is_some_and(|(table, _)| table == key);
    Config::KEYS.into_iter().any(|known| known == key || is_table(known))
}

/// The key that was most likely meant; `None` if none is near.
fn nearest(key: &str) -> Option<&'static str> {
    Config::KEYS
        .into_iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
