//! One-off traffic that checks what arrives, not only that something does.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::netns::Netns;

/// How long a single step of traffic may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// ICMP or ICMPv6 echo requests to one address.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    to: IpAddr,
    packet: Option<u16>,
    count: u32,
    interval: Duration,
}

impl Ping {
    /// Three small ones, 50 ms apart.
    pub fn to(to: IpAddr) -> Self {
        Self { to, packet: None, count: 3, interval: Duration::from_millis(50) }
    }

    /// Makes each IP packet exactly that many bytes, and forbids to fragment it.
    #[must_use]
    pub fn filling(self, mtu: u16) -> Self {
        Self { packet: Some(mtu), ..self }
    }

    /// Sends that many, so far apart.
    #[must_use]
    pub fn count(self, count: u32, interval: Duration) -> Self {
        Self { count, interval, ..self }
    }

    /// Sends them, and hands back how many were answered.
    ///
    /// # Errors
    /// `ping` cannot send.
    pub fn answered(self, from: &Netns) -> Result<u32> {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-W", "1", "-c", &self.count.to_string()]);
        ping.args(["-i", &self.interval.as_secs_f64().to_string()]);
        if let Some(packet) = self.packet {
            // The IP header and ICMP's eight bytes are not payload.
            let headers = if self.to.is_ipv6() { 48 } else { 28 };
            ping.args(["-M", "do", "-s", &packet.saturating_sub(headers).to_string()]);
        }
        ping.arg(self.to.to_string());
        let output = from.run(|| Ok(ping.output()?))?;
        let said = String::from_utf8_lossy(&output.stdout);
        // "3 packets transmitted, 2 received, …"
        let answered = said.split(", ").find_map(|part| part.strip_suffix(" received"));
        answered.and_then(|count| count.parse().ok()).with_context(|| {
            format!("{from} cannot ping {}: {said}{}", self.to, String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Sends them; every one must be answered.
    ///
    /// # Errors
    /// How many were not.
    pub fn all_answered(self, from: &Netns) -> Result<()> {
        let answered = self.answered(from)?;
        ensure!(
            answered == self.count,
            "{from}: {} of {} pings to {} were answered",
            answered,
            self.count,
            self.to
        );
        Ok(())
    }

    /// Sends them; none must be answered.
    ///
    /// # Errors
    /// How many were.
    pub fn none_answered(self, from: &Netns) -> Result<()> {
        // Without a route to it, ping says so instead of counting: that is no answer either.
        let answered = self.answered(from).unwrap_or(0);
        ensure!(answered == 0, "{from}: {answered} pings to {} were answered, and none may be", self.to);
        Ok(())
    }
}

/// Sends that many bytes over TCP and compares each with what was sent; then as many the other way.
///
/// # Errors
/// No connection, a reset, or other bytes than those that were sent.
pub fn tcp_transfer(from: &Netns, to: &Netns, address: IpAddr, bytes: usize) -> Result<()> {
    let listener =
        to.run(|| Ok(TcpListener::bind((address, 0))?)).with_context(|| format!("{to} has no {address}"))?;
    let target = listener.local_addr()?;
    transfer(from, target, listener, bytes).with_context(|| format!("TCP from {from} to {to} at {target}"))
}

/// As [`tcp_transfer`], to who listens on a port there and is reached at another address.
///
/// # Errors
/// The port is taken, or as there.
pub fn tcp_transfer_by(
    from: &Netns,
    target: SocketAddr,
    (to, port): (&Netns, u16),
    bytes: usize,
) -> Result<()> {
    let listener = to
        .run(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?))
        .with_context(|| format!("port {port} in {to}"))?;
    transfer(from, target, listener, bytes).with_context(|| format!("TCP from {from} by {target} to {to}"))
}

fn transfer(from: &Netns, target: SocketAddr, listener: TcpListener, bytes: usize) -> Result<()> {
    // A listener that nobody reaches does not wait for ever.
    setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs().cast_signed()))?;
    let receiver = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept().context("nobody came")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let received = Pattern::default().check(&mut stream)?;
        ensure!(received == bytes, "{received} of {bytes} bytes arrived");
        stream.set_write_timeout(Some(PATIENCE))?;
        Pattern::default().send(&mut stream, bytes)
    });
    let sent = from.run(|| {
        let mut stream = connect(target)?;
        Pattern::default().send(&mut stream, bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let answered = Pattern::default().check(&mut stream)?;
        ensure!(answered == bytes, "{answered} of {bytes} bytes came back");
        Ok(())
    });
    let received = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // Where one end fails, the other does, and either may tell the cause.
    match (sent, received) {
        (Err(sent), Err(received)) => Err(sent.context(format!("the other end: {received:#}"))),
        (sent, received) => sent.and(received),
    }
}

pub(crate) fn connect(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE).context("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Bytes that look random and are the same each time (xorshift64), so that a shifted, swapped or repeated
/// segment shows.
pub(crate) struct Pattern {
    state: u64,
}

impl Default for Pattern {
    fn default() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl Pattern {
    /// The bytes that a chunk holds; every chunk but a stream's last has all of them.
    pub(crate) const CHUNK: usize = 64 * 1024;

    /// Bytes that differ from those of any other number.
    pub(crate) fn starting_at(number: u64) -> Self {
        Self { state: Self::default().state ^ number }
    }

    pub(crate) fn send(&mut self, stream: &mut impl Write, bytes: usize) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let length = left.min(Self::CHUNK);
            stream.write_all(&self.chunk()[..length]).context("sending")?;
            left -= length;
        }
        Ok(())
    }

    /// Reads to the end, and hands back how many bytes it were.
    fn check(&mut self, stream: &mut impl Read) -> Result<usize> {
        let mut total = 0;
        let mut buffer = vec![0; Self::CHUNK];
        loop {
            let length = read_full(stream, &mut buffer)?;
            ensure!(buffer[..length] == self.chunk()[..length], "wrong bytes after {total} right ones");
            total += length;
            if length < buffer.len() {
                return Ok(total);
            }
        }
    }

    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        self.bytes(Self::CHUNK)
    }

    /// That many bytes; each call begins with eight new ones.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + size_of::<u64>());
        while bytes.len() < length {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            bytes.extend_from_slice(&self.state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Reads until the buffer is full or the stream ends.
pub(crate) fn read_full(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.read(&mut buffer[length..]).context("receiving")? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// A UDP server that puts its name before what it was sent, so that one knows who answers at an address.
pub struct Responder {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Responder {
    /// The port that every responder listens on, for both families.
    pub const PORT: u16 = 7007;

    /// Starts one.
    ///
    /// # Errors
    /// The port is taken there.
    pub fn start(netns: &Netns, name: &str) -> Result<Self> {
        let socket = netns.run(|| Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, Self::PORT))?))?;
        deepen(&socket)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (name, done) = (name.to_owned(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 9000];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let answer = [name.as_bytes(), b":", &buffer[..length]].concat();
                    // Where the answer cannot go, the asker finds out.
                    let _ = socket.send_to(&answer, from);
                }
            }
            Ok(())
        });
        Ok(Self { done, thread: Some(thread) })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks the responder at an address for its name, by a datagram of that many bytes whose echo is compared.
///
/// # Errors
/// No answer within a second, or other bytes than those that were sent.
pub fn who_answers(from: &Netns, address: IpAddr, bytes: usize) -> Result<String> {
    let question = Pattern::default().bytes(bytes);
    from.run(|| {
        let socket = udp_to(SocketAddr::new(address, Responder::PORT))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send(&question).context("sending")?;
        let mut buffer = [0; 9000];
        let length = socket.recv(&mut buffer).context("no answer")?;
        let answer = &buffer[..length];
        let Some(colon) = answer.iter().position(|byte| *byte == b':') else {
            bail!("an answer without a name")
        };
        ensure!(answer[colon + 1..] == question, "the echo differs from what was sent");
        Ok(String::from_utf8_lossy(&answer[..colon]).into_owned())
    })
    .with_context(|| format!("UDP from {from} to {address}"))
}

/// A UDP socket towards one address, from a port that none was made from for long: what comes from the port of an earlier flow
/// is that flow still.
pub(crate) fn udp_to(target: SocketAddr) -> Result<UdpSocket> {
    /// Linux's `net.ipv4.ip_local_port_range`, unless it was set.
    const PORTS: Range<u32> = 32_768..61_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let any: IpAddr =
        if target.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = loop {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        match UdpSocket::bind((any, u16::try_from(port)?)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => break bound?,
        }
    };
    deepen(&socket)?;
    socket.connect(target).with_context(|| format!("no route to {target}"))?;
    Ok(socket)
}

/// Makes room for seconds of probes: what waits for a busy reader was not lost by the network.
pub(crate) fn deepen(socket: &UdpSocket) -> Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &(16 << 20)).context("SO_RCVBUFFORCE")
}
