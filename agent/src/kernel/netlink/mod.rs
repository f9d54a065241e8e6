//! Network devices, addresses and routes, over rtnetlink.
//!
//! It does what it is told and reports what there is. What should be there is the core's to decide, and it never
//! changes a device that is not Overlay's.
//!
//! | module | does |
//! |---|---|
//! | `device` | reads what the kernel says of a device |
//! | `vxlan` | makes the VXLAN device |
//! | `veth` | makes endpoints' veth pairs, both ends |
//! | `ways_out` | gives endpoints their default routes |
//! | `routes` | finds the underlay, sources and subnets |
//! | `monitor` | tells when to look again |

mod device;
mod monitor;
mod routes;
#[cfg(test)]
mod tests;
mod veth;
mod vxlan;
mod ways_out;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkMessage};
use overlay::model::{Attachment, NetnsRef};
use overlay::reconcile::links::{LinkAction, Links, Veth, Vxlan};
use rtnetlink::{Handle, LinkUnspec};

use super::netns;
pub(super) use device::Device;

/// A netlink socket in one network namespace, for good.
pub struct Netlink {
    handle: Handle,
}

/// The devices of Overlay that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The devices.
    pub links: Links,
    /// The index of each, by its name.
    pub ifindexes: BTreeMap<String, u32>,
}

impl Netlink {
    /// In the calling thread's namespace, which is the agent's. It must be called within a runtime.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        // It ends by itself once the last handle is dropped.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// In another namespace.
    ///
    /// # Errors
    /// The namespace is gone, or the kernel gives no socket.
    pub(super) async fn open_in(target: &NetnsRef) -> Result<Self> {
        netns::inside(target, Self::open).await
    }

    /// What there is of ours: the VXLAN device by its name, the endpoints' veths by their prefix.
    ///
    /// # Errors
    /// A device that is not ours has the VXLAN device's name, or the kernel fails.
    pub async fn observe(&self, vxlan_device: &str, veth_prefix: &str) -> Result<Observed> {
        let mut observed = Observed::default();
        for device in self.devices().await? {
            if device.name == vxlan_device {
                let port = device.our_vxlan_port()?;
                observed.links.vxlan = Some(Vxlan { name: device.name.clone(), port, up: device.up });
            } else if device.is_veth() && Attachment::is_host_ifname(&device.name, veth_prefix) {
                observed.links.veths.insert(device.name.clone(), Veth { mtu: device.mtu16(), up: device.up });
            } else {
                continue;
            }
            observed.ifindexes.insert(device.name, device.index);
        }
        Ok(observed)
    }

    /// The names of the interfaces in a namespace.
    ///
    /// # Errors
    /// The namespace is gone, or the kernel refuses.
    pub async fn interfaces_in(netns: &NetnsRef) -> Result<BTreeSet<String>> {
        let devices = Self::open_in(netns).await?.devices().await?;
        Ok(devices.into_iter().map(|device| device.name).collect())
    }

    /// Takes one step. A step that was taken already succeeds.
    ///
    /// # Errors
    /// Names the device and what failed. A device that could not be made whole is removed again.
    pub async fn apply(&self, action: &LinkAction) -> Result<()> {
        match action {
            LinkAction::CreateVxlan(spec) => {
                self.create_vxlan(spec).await.with_context(|| format!("VXLAN device {}", spec.name))
            }
            LinkAction::CreateVeth(spec) => {
                self.create_veth(spec).await.with_context(|| format!("veth pair {}", spec.host_ifname))
            }
            LinkAction::SetMtu(spec) => {
                self.set_veth_mtu(spec).await.with_context(|| format!("veth pair {}", spec.host_ifname))
            }
            LinkAction::SetUp(name) => self
                .set(LinkUnspec::new_with_name(name).up().build())
                .await
                .with_context(|| format!("taking {name} up")),
            LinkAction::Delete(name) => self.delete(name).await,
        }
    }

    /// All devices of the namespace.
    pub(super) async fn devices(&self) -> Result<Vec<Device>> {
        self.handle
            .link()
            .get()
            .execute()
            .map_ok(Device::from)
            .try_collect()
            .await
            .map_err(said)
            .context("listing the devices")
    }

    /// The device of this name, if there is one.
    async fn find(&self, name: &str) -> Result<Option<Device>> {
        match self.handle.link().get().match_name(name).execute().try_next().await.map_err(said) {
            Ok(message) => Ok(message.map(Device::from)),
            Err(error) if is_errno(&error, libc::ENODEV) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking for {name}")),
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).build();
        match self.handle.link().del_with_message(message).execute().await.map_err(said) {
            Err(error) if !is_errno(&error, libc::ENODEV) => {
                Err(error).with_context(|| format!("removing {name}"))
            }
            _ => Ok(()),
        }
    }

    /// Removes what could not be finished. The caller reports why it could not be.
    async fn undo(&self, name: &str) {
        if let Err(error) = self.delete(name).await {
            tracing::warn!(device = name, error = format!("{error:#}"), "a half-made device is left behind");
        }
    }

    async fn add(&self, message: LinkMessage) -> io::Result<()> {
        self.handle.link().add(message).execute().await.map_err(said)
    }

    async fn set(&self, message: LinkMessage) -> io::Result<()> {
        self.handle.link().set(message).execute().await.map_err(said)
    }

    /// Keeps the kernel from giving a device a link-local address, and so from talking by itself. It must come
    /// before the device is taken up, in a request of its own: rtnetlink takes a device up first.
    async fn no_link_local(&self, index: u32) -> io::Result<()> {
        let mode = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let message = LinkUnspec::new_with_index(index)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![mode]))
            .build();
        match self.set(message).await {
            // A kernel without IPv6 gives no such address anyway.
            Err(error) if is_errno(&error, libc::EAFNOSUPPORT) => Ok(()),
            result => result,
        }
    }
}

/// What the kernel said, as an I/O error that carries its errno.
fn said(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn is_errno(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}
