//! Endpoints' veth pairs: one end here, the other made right inside the endpoint's namespace.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoVeth};
use overlay::reconcile::links::VethSpec;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{Device, Netlink, is_errno, said};
use crate::kernel::netns;

const OPERATIONAL_TRIES: usize = 100;
const OPERATIONAL_PAUSE: Duration = Duration::from_millis(1);

impl Netlink {
    /// Makes a veth pair, configures the far end and takes both up, the near one last: a pair that is up is whole.
    /// One that an interrupted run left half-made is completed.
    pub(super) async fn create_veth(&self, spec: &VethSpec) -> Result<()> {
        let inside = Self::open_in(&spec.netns).await?;
        if let Some(host) = self.find(&spec.host_ifname).await? {
            ensure!(host.is_veth(), "a device of another kind has that name; hint: set veth_prefix");
            match inside.far_end(&host).await? {
                Some(far) if far.name == spec.ifname && far.mac == spec.mac.bytes() => {
                    return self.configure_veth(spec, &inside).await;
                }
                // It leads into another namespace, or to another endpoint.
                _ => self.delete(&spec.host_ifname).await?,
            }
        }
        self.add_veth(spec).await?;
        let configured = self.configure_veth(spec, &inside).await;
        if configured.is_err() {
            self.undo(&spec.host_ifname).await;
        }
        configured
    }

    /// Sets the MTU of both ends: the far one first, so that it never sends what the near one does not take.
    pub(super) async fn set_veth_mtu(&self, spec: &VethSpec) -> Result<()> {
        let inside = Self::open_in(&spec.netns).await?;
        let host = self.find(&spec.host_ifname).await?.context("it is gone")?;
        let far = inside.far_end(&host).await?.context("its far end is no longer in the namespace")?;
        let mtu = u32::from(spec.mtu);
        let step = || format!("setting the MTU to {mtu}");
        inside.set(LinkUnspec::new_with_index(far.index).mtu(mtu).build()).await.with_context(step)?;
        self.set(LinkUnspec::new_with_index(host.index).mtu(mtu).build()).await.with_context(step)
    }

    pub(super) async fn add_veth(&self, spec: &VethSpec) -> Result<()> {
        let target = netns::open(&spec.netns)?;
        let mtu = u32::from(spec.mtu);
        let peer = LinkUnspec::new_with_name(&spec.ifname)
            .address(spec.mac.bytes().to_vec())
            .mtu(mtu)
            .setns_by_fd(target.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(&spec.host_ifname, &spec.ifname)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(mtu)
            .build();
        match self.add(message).await {
            Err(error) if is_errno(&error, libc::EEXIST) => bail!(
                "an interface named {} is in the namespace {} already; hint: give another name",
                spec.ifname,
                spec.netns.path.display()
            ),
            result => result.context("making it"),
        }
    }

    async fn configure_veth(&self, spec: &VethSpec, inside: &Self) -> Result<()> {
        let host = self.find(&spec.host_ifname).await?.context("it vanished")?;
        let far = inside.far_end(&host).await?.context("its far end vanished")?;
        self.no_link_local(host.index).await.context("switching off its IPv6 link-local address")?;
        configure_ipv6(spec).await.with_context(|| format!("configuring IPv6 on {}", spec.ifname))?;
        for address in &spec.addresses {
            inside
                .add_address(far.index, *address)
                .await
                .with_context(|| format!("adding {address} to {}", spec.ifname))?;
        }
        inside
            .set(LinkUnspec::new_with_index(far.index).mtu(u32::from(spec.mtu)).up().build())
            .await
            .with_context(|| format!("taking {} up", spec.ifname))?;
        inside.add_ways_out(spec, far.index).await?;
        self.set(LinkUnspec::new_with_index(host.index).mtu(u32::from(spec.mtu)).up().build())
            .await
            .context("taking it up")?;
        inside.wait_operational(spec).await
    }

    /// Waits until the far end may send. It comes up with the near one, but a work of the kernel's own has still to set its
    /// queue going, and until then what it sends is dropped: an ARP request is repeated only after a second. Recent
    /// kernels do it before they tell of a single device (`linkwatch_sync_dev`, net/core/link_watch.c), so that asking is all
    /// it takes. Another such work makes the host receive for its IPv6 addresses, those without detection of duplicates too
    /// (`addrconf_dad_work`, net/ipv6/addrconf.c). A far end that somebody takes down meanwhile is not waited for any
    /// longer.
    async fn wait_operational(&self, spec: &VethSpec) -> Result<()> {
        for _ in 0..OPERATIONAL_TRIES {
            let far = self.find(&spec.ifname).await?.context("its far end vanished")?;
            if far.operational && self.receives_for(&spec.addresses).await {
                break;
            }
            tokio::time::sleep(OPERATIONAL_PAUSE).await;
        }
        Ok(())
    }

    async fn receives_for(&self, addresses: &[IpNet]) -> bool {
        for address in addresses {
            if !self.is_local(address.addr()).await.unwrap_or(false) {
                return false;
            }
        }
        true
    }

    /// The other end of a veth pair, if it is in this socket's namespace: both ends name each other.
    async fn far_end(&self, host: &Device) -> Result<Option<Device>> {
        let devices = self.devices().await?;
        Ok(devices.into_iter().find(|device| {
            device.is_veth() && host.peer == Some(device.index) && device.peer == Some(host.index)
        }))
    }

    async fn add_address(&self, index: u32, address: IpNet) -> io::Result<()> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len()).replace();
        if address.addr().is_ipv6() {
            // Addresses come from the node's own blocks, so there is no duplicate to detect, and the endpoint
            // can use its address at once.
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.map_err(said)
    }
}

/// Switches IPv6 on at the far end if it has such an address, off otherwise; container runtimes leave either as
/// the default. Router advertisements are refused: its routes are Overlay's to give.
async fn configure_ipv6(spec: &VethSpec) -> Result<()> {
    let disable = if spec.addresses.iter().any(|address| address.addr().is_ipv6()) { "0" } else { "1" };
    let ifname = spec.ifname.clone();
    netns::inside(&spec.netns, move || {
        for (setting, value) in [("accept_ra", "0"), ("disable_ipv6", disable)] {
            let path = format!("/proc/sys/net/ipv6/conf/{ifname}/{setting}");
            match fs::write(&path, value) {
                // A kernel without IPv6 has no such settings.
                Err(error) if error.kind() == io::ErrorKind::NotFound && disable == "1" => {}
                result => result.context(path)?,
            }
        }
        Ok(())
    })
    .await
}
