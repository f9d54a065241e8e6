//! Frames that nobody's stack would send, and the sockets that send them all the same.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::err::packet::BuildWriteError;
use etherparse::{IpNumber, Ipv4Header, PacketBuilder, UdpHeader};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use overlay_harness::{Attached, Netns, eventually};

use crate::steps::SOON;

pub(crate) type Mac = [u8; 6];

const DATA_PORT: u16 = 4789;
const PORT: u16 = 5005;

/// What every hostile frame carries, and what every honest one does.
pub(crate) const FORGED: &[u8] = b"forged";
pub(crate) const HONEST: &[u8] = b"honest";

/// A MAC address that nobody has.
pub(crate) const NOBODY_MAC: Mac = [2, 0, 0, 0, 0, 77];

/// An endpoint's addresses.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) mac: Mac,
    pub(crate) ip4: [u8; 4],
    pub(crate) ip6: [u8; 16],
}

impl Endpoint {
    pub(crate) fn of(attached: &Attached) -> Result<Self> {
        let endpoint = &attached.row.endpoint;
        let (ip4, ip6) = endpoint.ip4.zip(endpoint.ip6).context("an address of each family")?;
        Ok(Self { mac: endpoint.mac.bytes(), ip4: ip4.octets(), ip6: ip6.octets() })
    }

    pub(crate) fn to(self, destination: &Self) -> Datagram {
        Datagram { source: self, destination: *destination }
    }

    pub(crate) fn from(self, source: &Self) -> Datagram {
        source.to(&self)
    }
}

/// A datagram's ends.
pub(crate) struct Datagram {
    source: Endpoint,
    destination: Endpoint,
}

impl Datagram {
    pub(crate) fn udp(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let builder = PacketBuilder::ethernet2(self.source.mac, self.destination.mac)
            .ipv4(self.source.ip4, self.destination.ip4, 64)
            .udp(PORT, PORT);
        written(|frame| builder.write(frame, payload))
    }

    pub(crate) fn udp6(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let builder = PacketBuilder::ethernet2(self.source.mac, self.destination.mac)
            .ipv6(self.source.ip6, self.destination.ip6, 64)
            .udp(PORT, PORT);
        written(|frame| builder.write(frame, payload))
    }
}

pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), BuildWriteError>) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    write(&mut frame)?;
    Ok(frame)
}

/// A VXLAN header with these flags (RFC 7348, section 5), and the inner frame.
pub(crate) fn vxlan(flags: u8, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = vni.to_be_bytes();
    [&[flags, 0, 0, 0, high, middle, low, 0], inner].concat()
}

/// A frame to a node's data port, with these IP options.
pub(crate) fn outer(
    source: IpAddr,
    target: IpAddr,
    mac: Mac,
    options: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (source, target) else { bail!("IPv4 addresses") };
    let length = u16::try_from(UdpHeader::LEN + payload.len())?;
    let mut ip = Ipv4Header::new(length, 64, IpNumber::UDP, source.octets(), target.octets())?;
    ip.options = options.try_into()?;
    ip.set_payload_len(length.into())?;
    ip.header_checksum = ip.calc_header_checksum();
    let udp = UdpHeader { source_port: 49152, destination_port: DATA_PORT, length, checksum: 0 };
    Ok([&mac[..], &NOBODY_MAC, &[8, 0], &ip.to_bytes(), &udp.to_bytes(), payload].concat())
}

/// An interface's link-layer address.
fn link(netns: &Netns, interface: &str) -> Result<LinkAddr> {
    netns.run(|| {
        let mut links = getifaddrs()?.filter(|address| address.interface_name == interface);
        let link = links.find_map(|address| address.address?.as_link_addr().copied());
        link.with_context(|| format!("no interface {interface}"))
    })
}

pub(crate) fn device_mac(netns: &Netns, interface: &str) -> Result<Mac> {
    link(netns, interface)?.addr().context("an interface without a MAC address")
}

/// Sends and receives whole frames at an interface.
pub(crate) struct PacketSocket(OwnedFd);

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PacketSocket {
    pub(crate) fn open(netns: &Netns, interface: &str) -> Result<Self> {
        let link = link(netns, interface)?;
        let socket = netns.run(|| {
            let all = SockProtocol::EthAll;
            Ok(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, all)?)
        })?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self(socket))
    }

    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty()).context("sending a frame").map(drop)
    }

    /// What has come since it was last asked, whichever way.
    pub(crate) fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let (mut frames, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => frames.push(buffer[..length].to_vec()),
                Err(Errno::EAGAIN) => return Ok(frames),
                Err(error) => return Err(error).context("receiving frames"),
            }
        }
    }

    /// What of that is marked as ours.
    fn received(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = self.frames()?;
        let ours = |frame: &Vec<u8>| [FORGED, HONEST].iter().any(|marker| contains(frame, marker));
        frames.retain(ours);
        Ok(frames)
    }

    /// Waits for a frame with this marker; none other of ours may come.
    pub(crate) fn receives_only(&self, marker: &[u8]) -> Result<()> {
        let frames = eventually("the honest frame arrives", SOON, || {
            let frames = self.received()?;
            ensure!(!frames.is_empty(), "nothing came");
            Ok(frames)
        })?;
        let forged = frames.iter().find(|frame| !contains(frame, marker));
        ensure!(forged.is_none(), "a forged frame was delivered: {forged:02x?}");
        Ok(())
    }

    pub(crate) fn receives_nothing(&self) -> Result<()> {
        let frames = self.received()?;
        ensure!(frames.is_empty(), "frames were delivered: {frames:02x?}");
        Ok(())
    }
}

fn contains(frame: &[u8], marker: &[u8]) -> bool {
    frame.windows(marker.len()).any(|window| window == marker)
}
