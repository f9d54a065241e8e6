//! The VXLAN device: it owns the data port and serves what the tc programs leave to it.

use std::io;

use anyhow::{Context as _, Result, ensure};
use netlink_packet_route::link::InfoKind;
use overlay::reconcile::links::Vxlan;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVxlan};

use super::{Netlink, is_errno};
use crate::kernel::Problem;

/// The largest that a device takes. What fits is decided by the data path, for each peer.
const MTU: u32 = 65_535;

impl Netlink {
    /// Makes the VXLAN device and takes it up.
    pub(super) async fn create_vxlan(&self, spec: &Vxlan) -> Result<()> {
        if let Some(device) = self.find(&spec.name).await? {
            let port = device.our_vxlan_port()?;
            ensure!(port == spec.port, "it is there with port {port} instead of {}", spec.port);
            return self.take_vxlan_up(device.index, spec.port).await;
        }
        let message = LinkMessageBuilder::<LinkVxlan>::new(&spec.name)
            .collect_metadata(true)
            .learning(false)
            .port(spec.port)
            .udp_zero_csum6_rx(true)
            .mtu(MTU)
            .build();
        self.add(message).await.map_err(|error| refused(error, spec.port)).context("making it")?;
        let finished = self.finish_vxlan(spec).await;
        if finished.is_err() {
            self.undo(&spec.name).await;
        }
        finished
    }

    /// Whether the kernel has VXLAN. It loads the module, and makes no device: one without parameters is
    /// refused as invalid if the kind is known, as unsupported if it is not.
    pub(in crate::kernel) async fn supports_vxlan(&self) -> bool {
        !self.is_unknown(InfoKind::Vxlan).await
    }

    /// `kind` must be one that takes no device without parameters.
    pub(super) async fn is_unknown(&self, kind: InfoKind) -> bool {
        let message =
            LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind).name("overlay-probe").build();
        self.add(message).await.is_err_and(|error| is_errno(&error, libc::EOPNOTSUPP))
    }

    async fn finish_vxlan(&self, spec: &Vxlan) -> Result<()> {
        let device = self.find(&spec.name).await?.context("it vanished")?;
        self.no_link_local(device.index).await.context("switching off its IPv6 link-local address")?;
        self.take_vxlan_up(device.index, spec.port).await
    }

    async fn take_vxlan_up(&self, index: u32, port: u16) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.set(message).await.map_err(|error| refused(error, port)).context("taking it up")
    }
}

/// Says so if the port is why: a VXLAN device binds it when it is taken up.
fn refused(error: io::Error, port: u16) -> anyhow::Error {
    if is_errno(&error, libc::EADDRINUSE) || is_errno(&error, libc::EEXIST) {
        let what = format!("UDP port {port} is taken ({error})");
        return Problem::new(what, "free it, or set data_port, the same on every node").into();
    }
    error.into()
}
