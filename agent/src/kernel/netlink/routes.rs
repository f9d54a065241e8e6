//! Where packets leave: the underlay device, source addresses, and the subnets that are taken.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use overlay::model::Attachment;
use overlay::reconcile::links::Underlay;
use rtnetlink::RouteMessageBuilder;

use super::{Netlink, said};

/// Addresses that only a default route leads to. Nothing is sent to them: the kernel is asked for the route.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1001)),
];

impl Netlink {
    /// The device that holds `address`.
    ///
    /// # Errors
    /// None of this machine's devices has it, or the kernel fails.
    pub async fn underlay(&self, address: IpAddr) -> Result<Underlay> {
        let addresses = self.addresses().await?;
        let holder = addresses.iter().find(|(_, held)| held.addr() == address);
        let (index, _) = *holder.with_context(|| {
            format!(
                "{address} is on no interface of this machine; hint: `ip address` lists those that are; set \
                 advertise_addr to one of them"
            )
        })?;
        let device = self.devices().await?.into_iter().find(|device| device.index == index);
        let device = device.with_context(|| format!("the interface that held {address} is gone"))?;
        // The first of a family is the primary one; our own address goes before it.
        let held = addresses.iter().filter(|(holder, _)| *holder == index).map(|(_, held)| held.addr());
        let own = || std::iter::once(address).chain(held.clone()).filter(|address| !is_link_local(*address));
        Ok(Underlay {
            egress4: own().find_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }),
            egress6: own().find_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some(address),
            }),
            mtu: device.mtu16(),
            kind: device.kind(),
            device: device.name,
            ifindex: index,
            vtep: address,
        })
    }

    /// The local address that packets to `target` leave from; without a target, those that take the default
    /// route, by IPv4 if it has one.
    ///
    /// # Errors
    /// There is no route.
    pub async fn source_towards(&self, target: Option<IpAddr>) -> Result<IpAddr> {
        if let Some(target) = target {
            return self.source_to(target).await.with_context(|| format!("no route to {target}"));
        }
        let [ipv4, ipv6] = ELSEWHERE;
        if let Ok(source) = self.source_to(ipv4).await {
            return Ok(source);
        }
        self.source_to(ipv6).await.context(
            "this machine has no default route to tell which of its addresses to use; hint: set advertise_addr",
        )
    }

    /// Whether what is for that address ends here.
    ///
    /// # Errors
    /// There is no route.
    pub(super) async fn is_local(&self, address: IpAddr) -> Result<bool> {
        Ok(self.route_to(address).await?.is_some_and(|route| route.header.kind == RouteType::Local))
    }

    async fn route_to(&self, target: IpAddr) -> Result<Option<RouteMessage>> {
        let length = if target.is_ipv4() { 32 } else { 128 };
        let query = RouteMessageBuilder::<IpAddr>::new().destination_prefix(target, length)?.build();
        Ok(self.handle.route().get(query).execute().try_next().await.map_err(said)?)
    }

    async fn source_to(&self, target: IpAddr) -> Result<IpAddr> {
        self.route_to(target)
            .await?
            .into_iter()
            .flat_map(|route| route.attributes)
            .find_map(|attribute| match attribute {
                RouteAttribute::PrefSource(RouteAddress::Inet(source)) => Some(source.into()),
                RouteAttribute::PrefSource(RouteAddress::Inet6(source)) => Some(source.into()),
                _ => None,
            })
            .context("the route has no source address")
    }

    /// The subnets of this machine's own interfaces, sorted: neither loopback's nor Overlay's own devices', and
    /// no link-local ones.
    ///
    /// # Errors
    /// The kernel fails.
    pub async fn interface_subnets(&self, vxlan_device: &str, veth_prefix: &str) -> Result<Vec<IpNet>> {
        let ours = |name: &str| name == vxlan_device || Attachment::is_host_ifname(name, veth_prefix);
        let foreign: BTreeSet<u32> = self
            .devices()
            .await?
            .into_iter()
            .filter(|device| !device.loopback && !ours(&device.name))
            .map(|device| device.index)
            .collect();
        let subnets: BTreeSet<IpNet> = self
            .addresses()
            .await?
            .into_iter()
            .filter(|(index, address)| foreign.contains(index) && !is_link_local(address.addr()))
            .map(|(_, address)| address.trunc())
            .collect();
        Ok(subnets.into_iter().collect())
    }

    /// The addresses of this machine, whatever device they are on.
    ///
    /// # Errors
    /// The kernel fails.
    pub async fn own_addresses(&self) -> Result<BTreeSet<IpAddr>> {
        Ok(self.addresses().await?.into_iter().map(|(_, address)| address.addr()).collect())
    }

    /// Every local address, with the index of its device; last those that the kernel would not send from by itself, or
    /// only for a while (RFC 8981).
    pub(super) async fn addresses(&self) -> Result<Vec<(u32, IpNet)>> {
        let mut messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(said)
            .context("listing the addresses")?;
        messages.sort_by_key(|message| message.header.flags.contains(AddressHeaderFlags::Secondary));
        Ok(messages
            .iter()
            .filter_map(|message| Some((message.header.index, local_address(message)?)))
            .collect())
    }
}

/// IFA_LOCAL if there is one: IFA_ADDRESS is the peer's on a point-to-point device (rtnetlink(7)).
fn local_address(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
