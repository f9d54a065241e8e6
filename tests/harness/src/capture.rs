//! What passes on the wire, by `tcpdump`, and the VXLAN packets in it.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Netns;
use crate::traffic::PATIENCE;
use crate::wait::eventually;

/// A running capture of one interface.
pub struct Capture {
    tcpdump: Tcpdump,
    file: PathBuf,
}

/// A VXLAN packet (RFC 7348, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// The outer source address.
    pub source: IpAddr,
    /// The outer destination address.
    pub destination: IpAddr,
    /// The outer destination port.
    pub port: u16,
    /// The network identifier.
    pub vni: u32,
    /// The inner Ethernet frame.
    pub frame: Vec<u8>,
}

impl Capture {
    /// Starts capturing into a file; `filter` is tcpdump's. When it returns, nothing is missed any more.
    ///
    /// # Errors
    /// What tcpdump said.
    pub fn start(netns: &Netns, interface: &str, filter: &str, file: &Path) -> Result<Self> {
        let tcpdump = Tcpdump::start(netns, interface, file, &["--immediate-mode", "-U", filter])?;
        Ok(Self { tcpdump, file: file.to_owned() })
    }

    /// Stops once all that has passed is written, and hands back the Ethernet frames.
    ///
    /// # Errors
    /// The file is not what tcpdump writes.
    pub fn stop(mut self) -> Result<Vec<Vec<u8>>> {
        self.tcpdump.catch_up()?;
        self.tcpdump.stop();
        frames(&std::fs::read(&self.file)?)
    }
}

/// The VXLAN packet that an Ethernet frame carries to `port`, if it does.
pub fn vxlan(frame: &[u8], port: u16) -> Option<Vxlan> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination): (IpAddr, IpAddr) = match packet.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
    let ([flags, _, _, _, high, middle, low, _], frame) = udp.payload().split_first_chunk::<8>()?;
    // Flags must be exactly the I bit, or the VNI means nothing.
    (udp.destination_port() == port && *flags == 0x08).then(|| Vxlan {
        source,
        destination,
        port,
        vni: u32::from_be_bytes([0, *high, *middle, *low]),
        frame: frame.to_vec(),
    })
}

/// The packets of a file in the classic format with this machine's byte order, as tcpdump writes it.
fn frames(mut file: &[u8]) -> Result<Vec<Vec<u8>>> {
    const HEADER: usize = 24;
    ensure!(file.starts_with(&0xa1b2_c3d4_u32.to_ne_bytes()) && file.len() >= HEADER, "not a pcap file");
    file = &file[HEADER..];
    let mut frames = Vec::new();
    // Seconds, microseconds, bytes captured, bytes on the wire.
    while let Some((header, rest)) = file.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
        frames.push(rest.get(..length).context("the pcap file ends inside a packet")?.to_vec());
        file = &rest[length..];
    }
    Ok(frames)
}

/// Keeps the last few megabytes of what passes, headers only, for when a test fails.
pub(crate) struct Recorder {
    _tcpdump: Tcpdump,
}

impl Recorder {
    /// Writes `file` with `0` and `1` appended, in turns.
    pub(crate) fn start(netns: &Netns, interface: &str, file: &Path) -> Result<Self> {
        let tcpdump = Tcpdump::start(netns, interface, file, &["-s", "128", "-C", "4", "-W", "2"])?;
        Ok(Self { _tcpdump: tcpdump })
    }
}

struct Tcpdump {
    child: Child,
    /// Kept open to the end: its last words about counts would break a pipe.
    says: BufReader<ChildStderr>,
}

impl Tcpdump {
    fn start(netns: &Netns, interface: &str, file: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        // As another user it could not write here.
        command.args(["-n", "-Z", "root", "-i", interface, "-w"]).arg(file).args(arguments);
        let mut child =
            netns.start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let says = BufReader::new(child.stderr.take().context("tcpdump's stderr")?);
        let (mut tcpdump, mut said) = (Self { child, says }, String::new());
        while !said.contains("listening on") {
            ensure!(tcpdump.says.read_line(&mut said)? > 0, "tcpdump on {interface} in {netns}: {said}");
        }
        Ok(tcpdump)
    }

    /// Waits until it has written all that the kernel has for it; when it is told to stop, it leaves that.
    fn catch_up(&mut self) -> Result<()> {
        eventually("tcpdump has written what has passed", PATIENCE, || {
            self.signal(Signal::SIGUSR1)?;
            let mut said = String::new();
            self.says.read_line(&mut said)?;
            // As "tcpdump: 4 packets captured, 4 packets received by filter, 0 packets dropped by kernel".
            let counts: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            ensure!(matches!(counts[..], [written, passed, 0] if written == passed), "{said}");
            Ok(())
        })
    }

    fn stop(&mut self) {
        let _ = self.signal(Signal::SIGINT);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        self.stop();
    }
}
