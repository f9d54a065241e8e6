//! A cable between two TAP devices, as a virtual machine's host end and its own: every frame that passes is held
//! against what a wire takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use overlay_harness::Netns;
use tun_tap::{Iface, Mode};

/// An Ethernet header's length.
const ETHERNET: usize = 14;

/// The cable, while it is plugged in.
pub(crate) struct Wire {
    ends: [(Netns, String); 2],
    done: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    ways: Vec<JoinHandle<Result<()>>>,
}

impl Wire {
    /// Makes a TAP device in each namespace and carries frames between them, none of whose packets may be larger
    /// than `mtu`.
    pub(crate) fn between(one: (&Netns, &str), other: (&Netns, &str), mtu: u16) -> Result<Self> {
        let ends = [one, other].map(|(netns, name)| (netns.clone(), name.to_owned()));
        let [one, other] = [tap(one)?, tap(other)?];
        let (done, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let ways = [(&one, &other), (&other, &one)].map(|(from, to)| {
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            let (done, carried) = (Arc::clone(&done), Arc::clone(&carried));
            std::thread::spawn(move || carry(&from, &to, mtu, &done, &carried))
        });
        Ok(Self { ends, done, carried, ways: ways.into() })
    }

    /// Unplugs it: removing the devices is what wakes their readers.
    ///
    /// # Errors
    /// What was wrong with a frame.
    pub(crate) fn stop(self) -> Result<()> {
        self.done.store(true, Ordering::Relaxed);
        for (netns, name) in &self.ends {
            // It is gone already where both ways ended by themselves, and why is told below.
            let _ = netns.ip(&format!("link delete {name}"));
        }
        for way in self.ways {
            way.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        ensure!(self.carried.load(Ordering::Relaxed) > 1000, "a transfer takes more frames than that");
        Ok(())
    }
}

fn tap((netns, name): (&Netns, &str)) -> Result<Arc<Iface>> {
    netns.run(|| Ok(Arc::new(Iface::without_packet_info(name, Mode::Tap)?))).context("making a TAP device")
}

fn carry(from: &Iface, to: &Iface, mtu: u16, done: &AtomicBool, carried: &AtomicU64) -> Result<()> {
    let mut frame = vec![0; 1 << 16];
    loop {
        let length = match from.recv(&mut frame) {
            Ok(length) => length,
            Err(_) if done.load(Ordering::Relaxed) => return Ok(()),
            Err(error) => return Err(error).context("reading from a TAP device"),
        };
        let frame = &frame[..length];
        check(frame, mtu).with_context(|| format!("a frame of {length} bytes: {frame:02x?}"))?;
        carried.fetch_add(1, Ordering::Relaxed);
        // A device that is down yet takes nothing.
        let _ = to.send(frame);
    }
}

/// Its length, and every checksum.
fn check(frame: &[u8], mtu: u16) -> Result<()> {
    ensure!(frame.len() <= usize::from(mtu) + ETHERNET, "it is longer than an MTU of {mtu} allows");
    let packet = SlicedPacket::from_ethernet(frame)?;
    let Some(net) = packet.net else { return Ok(()) };
    let header4 = match &net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            ensure!(header.header_checksum == header.calc_header_checksum(), "its IPv4 checksum is wrong");
            Some(header)
        }
        _ => None,
    };
    let header6 = match &net {
        NetSlice::Ipv6(ip) => Some(ip.header().to_header()),
        _ => None,
    };
    let (found, right) = match (packet.transport, header4, header6) {
        (Some(TransportSlice::Tcp(tcp)), Some(ip), _) => {
            (tcp.checksum(), tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload())?)
        }
        (Some(TransportSlice::Tcp(tcp)), _, Some(ip)) => {
            (tcp.checksum(), tcp.to_header().calc_checksum_ipv6(&ip, tcp.payload())?)
        }
        (Some(TransportSlice::Udp(udp)), Some(ip), _) => {
            (udp.checksum(), udp.to_header().calc_checksum_ipv4(&ip, udp.payload())?)
        }
        (Some(TransportSlice::Udp(udp)), _, Some(ip)) => {
            (udp.checksum(), udp.to_header().calc_checksum_ipv6(&ip, udp.payload())?)
        }
        (Some(TransportSlice::Icmpv4(icmp)), ..) => {
            (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
        }
        (Some(TransportSlice::Icmpv6(icmp)), _, Some(ip)) => {
            (icmp.checksum(), icmp.icmp_type().calc_checksum(ip.source, ip.destination, icmp.payload())?)
        }
        // A fragment's checksum is over all of its datagram, which the receiver checks.
        (None, ..) => return Ok(()),
        // The bridge's own, which goes no further.
        (Some(TransportSlice::Igmp(_)), ..) => return Ok(()),
        (transport, ..) => bail!("a transport that nobody sends here: {transport:?}"),
    };
    // One's complement has two zeros, which sum up alike; the kernel writes the other one.
    let same = found == right || (found, right) == (0xffff, 0);
    ensure!(same, "its checksum is {found:#06x} and should be {right:#06x}");
    Ok(())
}
