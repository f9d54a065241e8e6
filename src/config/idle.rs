//! How long flows are kept without a packet.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// For how many seconds the data path keeps a flow without a packet, by how far the flow is. The defaults are those of
/// Linux's connection tracking (`nf_conntrack_tcp_timeout_*`, `nf_conntrack_udp_timeout*`), more than RFC 5382 and RFC 4787
/// ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Idle {
    /// TCP: opened, nothing more seen yet.
    pub tcp_syn: u32,
    /// TCP: going on.
    pub tcp_established: u32,
    /// TCP: an end has closed it.
    pub tcp_fin: u32,
    /// TCP: broken off.
    pub tcp_rst: u32,
    /// All else: one packet was seen.
    pub udp: u32,
    /// All else: several were.
    pub udp_stream: u32,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            tcp_syn: 60,
            tcp_established: 5 * 24 * 3600,
            tcp_fin: 120,
            tcp_rst: 10,
            udp: 30,
            udp_stream: 120,
        }
    }
}

impl Idle {
    /// A time of 0 would end a flow before its answer.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let times = [
            ("idle.tcp_syn", self.tcp_syn),
            ("idle.tcp_established", self.tcp_established),
            ("idle.tcp_fin", self.tcp_fin),
            ("idle.tcp_rst", self.tcp_rst),
            ("idle.udp", self.udp),
            ("idle.udp_stream", self.udp_stream),
        ];
        match times.into_iter().find(|(_, seconds)| *seconds == 0) {
            Some((key, _)) => Err(ConfigError::IdleZero { key }),
            None => Ok(()),
        }
    }
}
