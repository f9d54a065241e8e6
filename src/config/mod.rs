//! The agent's configuration: one parsed, validated struct. A TOML file gives it, flags override it.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// What is logged, as `tracing-subscriber`'s filter: `info`, `overlayd=debug`, …
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: None,
            state_dir: "/var/lib/overlay".into(),
            socket: "/run/overlay/overlayd.sock".into(),
            bpf_dir: "/sys/fs/bpf/overlay".into(),
            data_port: 4789,
            gossip_port: 7946,
            api_port: 2377,
            advertise_addr: None,
            vxlan_device: "overlay0".into(),
            veth_prefix: "ovl".into(),
            log: "info".into(),
        }
    }
}
