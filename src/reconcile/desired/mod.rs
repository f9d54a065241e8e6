//! What a node's kernel should hold, given intent, the facts of all nodes and its own attachments.

mod claims;
mod links;
mod services;
mod tables;

pub use links::{DesiredLinks, links};
pub use services::{DesiredServices, Found, MaglevTable, Shortage, services};
pub use tables::DesiredTables;

use std::collections::BTreeSet;

use super::links::{Links, Underlay};
use super::mesh::Mesh;
use super::tables::Program;
use crate::config::Config;
use crate::facts::View;
use crate::model::{Network, NodeId, UnderlayFamily};

/// The MTU of an endpoint when no underlay is known yet: that of Ethernet less what VXLAN takes over IPv4.
const MTU_UNKNOWN: u16 = 1500 - UnderlayFamily::V4.overhead();

/// The node that desired state is computed for.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Its id.
    pub me: NodeId,
    /// Its configuration.
    pub config: &'a Config,
    /// Its underlay, once known.
    pub underlay: Option<&'a Underlay>,
    /// What marks packets of our own data path.
    pub mark: u32,
}

/// The device by which a host's processes reach its own addresses.
const LOOPBACK: &str = "lo";

/// The MTU of a network's endpoints, in bytes: what the user fixed, but no more than the smallest underlay among
/// the living nodes carries, and no less than a network can have.
pub fn effective_mtu(network: &Network, view: &View, own: Option<&Underlay>) -> u16 {
    let underlays = view.nodes().map(|(_, fact)| (fact.vtep, fact.underlay_mtu));
    let cap = own
        .map(|own| (own.vtep, own.mtu))
        .into_iter()
        .chain(underlays)
        .map(|(vtep, mtu)| mtu.saturating_sub(UnderlayFamily::of(vtep).overhead()))
        .min();
    let mtu = match (network.mtu, cap) {
        (Some(fixed), Some(cap)) => fixed.min(cap),
        (Some(mtu), None) | (None, Some(mtu)) => mtu,
        (None, None) => MTU_UNKNOWN,
    };
    mtu.max(*network.mtu_range().start())
}

/// Which programs belong on which of the devices that are there.
pub fn hooks(host: &Host<'_>, observed: &Links, mesh: &Mesh) -> BTreeSet<(Program, String)> {
    let endpoints = observed.veths.keys().map(|veth| (Program::TcEndpoint, veth.clone()));
    let overlay = observed.vxlan.iter().map(|vxlan| (Program::TcOverlay, vxlan.name.clone()));
    let underlay = host.underlay.into_iter().flat_map(|underlay| {
        let xdp = mesh.is_xdp().then_some(Program::XdpUnderlay);
        let programs = [Program::TcUnderlay, Program::TcGuard].into_iter().chain(xdp);
        programs.map(|program| (program, underlay.device.clone()))
    });
    let local = (*mesh != Mesh::Idle).then(|| (Program::TcLocal, LOOPBACK.to_owned()));
    endpoints.chain(overlay).chain(underlay).chain(local).collect()
}
