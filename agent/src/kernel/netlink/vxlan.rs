//! The VXLAN device: it owns the data port and serves what the tc programs leave to it.

use anyhow::{Context as _, Result, ensure};
use overlay::reconcile::links::Vxlan;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVxlan};

use super::{Netlink, is_errno};

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

    async fn finish_vxlan(&self, spec: &Vxlan) -> Result<()> {
        let device = self.find(&spec.name).await?.context("it vanished")?;
        self.no_link_local(device.index).await.context("switching off its IPv6 link-local address")?;
        self.take_vxlan_up(device.index, spec.port).await
    }

    async fn take_vxlan_up(&self, index: u32, port: u16) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.set(message).await.map_err(|error| refused(error, port)).context("taking it up")
    }

    /// Removes what could not be finished. The caller reports why it could not be.
    pub(super) async fn undo(&self, name: &str) {
        if let Err(error) = self.delete(name).await {
            tracing::warn!(device = name, error = format!("{error:#}"), "a half-made device is left behind");
        }
    }
}

/// Says so if the port is why: a VXLAN device binds it when it is taken up.
fn refused(error: std::io::Error, port: u16) -> anyhow::Error {
    let taken = is_errno(&error, libc::EADDRINUSE) || is_errno(&error, libc::EEXIST);
    let error = anyhow::Error::from(error);
    if !taken {
        return error;
    }
    error.context(format!("UDP port {port} is taken; hint: free it, or set data_port on every node"))
}
