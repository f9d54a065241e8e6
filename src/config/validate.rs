//! What a configuration must satisfy beyond its types.

use super::{Config, ConfigError};
use crate::model::check_ifname;

/// What veth pairs of Docker, Kubernetes' Calico and Cilium start with. Ours are told by their names, and those
/// that nothing wants are removed.
const FOREIGN_PREFIXES: [&str; 3] = ["veth", "cali", "lxc"];
/// The longest path of a Unix socket: `sun_path` less its final NUL (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_ports()?;
        self.check_egress_ports()?;
        check_ifname(&self.vxlan_device).map_err(|invalid| ConfigError::InterfaceName {
            key: "vxlan_device",
            what: invalid.to_string(),
        })?;
        self.check_veth_prefix()?;
        self.check_paths()?;
        self.idle.validate()?;
        match self.advertise_addr {
            Some(addr) if addr.is_unspecified() || addr.is_multicast() => {
                Err(ConfigError::AdvertiseAddr { addr })
            }
            _ => Ok(()),
        }
    }

    fn check_ports(&self) -> Result<(), ConfigError> {
        let data = ("data_port", self.data_port);
        let gossip = ("gossip_port", self.gossip_port);
        let api = ("api_port", self.api_port);
        if let Some((key, _)) = [data, gossip, api].into_iter().find(|(_, port)| *port == 0) {
            return Err(ConfigError::PortZero { key });
        }
        for (first, second, protocol) in [(data, gossip, "UDP"), (gossip, api, "TCP")] {
            if first.1 == second.1 {
                return Err(ConfigError::SamePort {
                    first: first.0,
                    second: second.0,
                    port: first.1,
                    protocol,
                });
            }
        }
        Ok(())
    }

    /// An answer to our own port would be taken for one to an endpoint.
    fn check_egress_ports(&self) -> Result<(), ConfigError> {
        let ports = self.egress_ports;
        let own =
            [("data_port", self.data_port), ("gossip_port", self.gossip_port), ("api_port", self.api_port)];
        match own.into_iter().find(|(_, port)| ports.contains(*port)) {
            Some((key, port)) => Err(ConfigError::EgressPorts { ports, key, port }),
            None => Ok(()),
        }
    }

    fn check_veth_prefix(&self) -> Result<(), ConfigError> {
        let prefix = &self.veth_prefix;
        let refuse = |why| Err(ConfigError::VethPrefix { prefix: prefix.clone(), why });
        if prefix.is_empty() || prefix.len() > 4 {
            return refuse(
                "it has 1 to 4 bytes, as the rest of the 15 that a name has are the endpoint's id",
            );
        }
        if check_ifname(&format!("{prefix}0")).is_err() {
            return refuse("no interface's name starts so");
        }
        if FOREIGN_PREFIXES.contains(&prefix.as_str()) {
            return refuse("other software's interfaces start so");
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), ConfigError> {
        for (key, path) in
            [("state_dir", &self.state_dir), ("socket", &self.socket), ("bpf_dir", &self.bpf_dir)]
        {
            if path.as_os_str().is_empty() {
                return Err(ConfigError::Empty { key });
            }
        }
        if self.hostname.as_deref() == Some("") {
            return Err(ConfigError::Empty { key: "hostname" });
        }
        if self.socket_group.as_deref() == Some("") {
            return Err(ConfigError::Empty { key: "socket_group" });
        }
        let length = self.socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(ConfigError::SocketPath { path: self.socket.clone(), length });
        }
        Ok(())
    }
}
