//! One round of each measurement. Both ends are on one core, and with them the whole data path, since a veth pair's
//! packets stay on the core that sent them: a wake-up across cores costs more than the data path, and how often one is
//! needed depends on which end happens to wait. What is measured is the work a packet takes.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::Pid;
use overlay_harness::Netns;

use crate::report::percentile;

/// What no answer within this time means: lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// The bytes of a small packet's payload.
const SMALL: usize = 64;

/// Who asks, who answers, and where.
pub(crate) struct Ends {
    pub(crate) from: Netns,
    pub(crate) to: Netns,
    /// Where the second one listens; port 0 means any.
    pub(crate) listens: SocketAddr,
    /// Where the first one asks, if that is another address.
    pub(crate) published: Option<SocketAddr>,
}

impl Ends {
    /// Where to ask for who listens there.
    fn target(&self, listens: SocketAddr) -> SocketAddr {
        self.published.unwrap_or(listens)
    }
}

/// Gbit/s that arrive, over that many streams together.
pub(crate) fn streams(ends: &Ends, streams: usize, duration: Duration) -> Result<Vec<f64>> {
    let listener = listening(ends)?;
    let target = ends.target(listener.local_addr()?);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..streams).map(|_| scope.spawn(|| ends.from.run(|| send(target, &stop)))).collect();
        let receivers = (0..streams).map(|_| {
            let (stream, _) = listener.accept()?;
            Ok(scope.spawn(move || receive(stream)))
        });
        let receivers = receivers.collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let bytes: u64 = receivers.into_iter().map(joined).sum::<Result<_>>()?;
        let seconds = started.elapsed().as_secs_f64();
        senders.into_iter().try_for_each(joined)?;
        Ok(vec![bytes as f64 * 8.0 / seconds / 1e9])
    })
}

fn send(target: SocketAddr, stop: &AtomicBool) -> Result<()> {
    on_first_core()?;
    let mut stream = connected(target)?;
    let chunk = [0x5a; 128 * 1024];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn receive(mut stream: TcpStream) -> Result<u64> {
    on_first_core()?;
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += length as u64,
        }
    }
}

/// Connections a second, one after the other: opened, a small question and its answer, closed.
pub(crate) fn connections(ends: &Ends, duration: Duration) -> Result<Vec<f64>> {
    const LAST: u8 = 1;
    let listener = listening(ends)?;
    let target = ends.target(listener.local_addr()?);
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || {
            on_first_core()?;
            let mut buffer = [0; SMALL];
            while buffer[0] != LAST {
                let mut stream = prepared(listener.accept().context("nobody comes any more")?.0)?;
                stream.read_exact(&mut buffer).context("nobody asks")?;
                stream.write_all(&buffer)?;
            }
            Ok(())
        });
        let rate = ends.from.run(|| {
            on_first_core()?;
            let ask = |mark| {
                let mut stream = prepared(connected(target)?)?;
                let mut buffer = [mark; SMALL];
                stream.write_all(&buffer)?;
                stream.read_exact(&mut buffer).context("no answer")
            };
            let (started, mut count) = (Instant::now(), 0);
            while started.elapsed() < duration {
                ask(0)?;
                count += 1;
            }
            let seconds = started.elapsed().as_secs_f64();
            ask(LAST)?;
            Ok(f64::from(count) / seconds)
        });
        let answered = joined(answering);
        let rate = rate?;
        answered.map(|()| vec![rate])
    })
}

/// Millions of small UDP packets a second, one way, sent and received in turns: so none waits, and none is lost.
pub(crate) fn flood(ends: &Ends, duration: Duration) -> Result<Vec<f64>> {
    const BATCH: usize = 64;
    let receiver = ends.to.run(|| Ok(UdpSocket::bind(ends.listens)?))?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let target = ends.target(receiver.local_addr()?);
    ends.from.run(|| {
        on_first_core()?;
        let sender = UdpSocket::bind(any(target))?;
        sender.connect(target)?;
        let started = Instant::now();
        let mut count = 0;
        while started.elapsed() < duration {
            for _ in 0..BATCH {
                sender.send(&[0; SMALL])?;
            }
            for _ in 0..BATCH {
                receiver.recv(&mut [0; SMALL]).context("a packet is lost")?;
            }
            count += BATCH;
        }
        Ok(vec![count as f64 / started.elapsed().as_secs_f64() / 1e6])
    })
}

/// The round-trip time over UDP in microseconds: the median, and the 99th percentile.
pub(crate) fn udp_round_trips(ends: &Ends, count: usize) -> Result<Vec<f64>> {
    let echo = ends.to.run(|| Ok(UdpSocket::bind(ends.listens)?))?;
    echo.set_read_timeout(Some(PATIENCE))?;
    let target = ends.target(echo.local_addr()?);
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || {
            on_first_core()?;
            let mut buffer = [0; SMALL];
            for _ in 0..count {
                let (length, from) = echo.recv_from(&mut buffer).context("nobody asks any more")?;
                echo.send_to(&buffer[..length], from)?;
            }
            Ok(())
        });
        let times = ends.from.run(|| {
            on_first_core()?;
            let socket = UdpSocket::bind(any(target))?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let mut buffer = [0; SMALL];
            times(count, || {
                socket.send(&buffer)?;
                let length = socket.recv(&mut buffer).context("no answer")?;
                ensure!(length == SMALL, "{length} bytes came back");
                Ok(())
            })
        });
        joined(answering)?;
        Ok(summary(&times?))
    })
}

/// The same over TCP, on one connection.
pub(crate) fn tcp_round_trips(ends: &Ends, count: usize) -> Result<Vec<f64>> {
    let listener = listening(ends)?;
    let target = ends.target(listener.local_addr()?);
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || {
            on_first_core()?;
            let mut stream = prepared(listener.accept()?.0)?;
            let mut buffer = [0; SMALL];
            for _ in 0..count {
                stream.read_exact(&mut buffer).context("nobody asks any more")?;
                stream.write_all(&buffer)?;
            }
            Ok(())
        });
        let times = ends.from.run(|| {
            on_first_core()?;
            let mut stream = prepared(connected(target)?)?;
            let mut buffer = [0; SMALL];
            times(count, || {
                stream.write_all(&buffer)?;
                stream.read_exact(&mut buffer).context("no answer")
            })
        });
        joined(answering)?;
        Ok(summary(&times?))
    })
}

fn listening(ends: &Ends) -> Result<TcpListener> {
    ends.to.run(|| {
        let listener = TcpListener::bind(ends.listens)?;
        without_pacing(&listener)?;
        // It is for accept(2), too (socket(7)): who waits for a client that failed does not do so for ever.
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs().cast_signed()))?;
        Ok(listener)
    })
}

fn connected(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE).context("no connection")?;
    without_pacing(&stream)?;
    Ok(stream)
}

/// Sends as fast as the path takes it, whatever the machine's default is: BBR's timers would be measured otherwise.
fn without_pacing(socket: &impl AsFd) -> Result<()> {
    Ok(setsockopt(socket, sockopt::TcpCongestion, &OsString::from("reno"))?)
}

/// A stream whose small messages leave at once, and that does not wait forever.
fn prepared(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// How long each of `count` exchanges takes, in microseconds.
fn times(count: usize, mut exchange: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    (0..count)
        .map(|_| {
            let asked = Instant::now();
            exchange()?;
            Ok(asked.elapsed().as_nanos() as f64 / 1e3)
        })
        .collect()
}

fn summary(times: &[f64]) -> Vec<f64> {
    vec![percentile(times, 50), percentile(times, 99)]
}

fn any(target: SocketAddr) -> SocketAddr {
    let unspecified: std::net::IpAddr = if target.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    (unspecified, 0).into()
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Puts this thread on the first core.
fn on_first_core() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
