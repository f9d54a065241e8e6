//! One round of each measurement.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::Path;

/// How long one round of a stream takes.
const STREAMING: Duration = Duration::from_millis(700);

/// Round trips in one round.
const ROUND_TRIPS: usize = 5_000;

/// What no answer within this time means: lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gbit/s that arrive, over that many streams together.
pub(crate) fn tcp_throughput(path: &Path<'_>, streams: usize) -> Result<f64> {
    let listener = path.to.run(|| Ok(TcpListener::bind((path.address, 0))?))?;
    let target = listener.local_addr()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..streams).map(|_| scope.spawn(|| path.from.run(|| send(target, &stop)))).collect();
        let started = Instant::now();
        let receivers = (0..streams).map(|_| {
            let (stream, _) = listener.accept()?;
            Ok(scope.spawn(move || receive(stream)))
        });
        let receivers = receivers.collect::<Result<Vec<_>>>()?;
        std::thread::sleep(STREAMING);
        stop.store(true, Ordering::Relaxed);
        let mut bytes = 0;
        for receiver in receivers {
            bytes += receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        for sender in senders {
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(bytes as f64 * 8.0 / seconds / 1e9)
    })
}

fn send(target: SocketAddr, stop: &AtomicBool) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context("no connection")?;
    let chunk = [0x5a; 128 * 1024];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn receive(mut stream: TcpStream) -> Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += length as u64,
        }
    }
}

/// The given percentile of the round-trip time in microseconds, both ends on one core: a wake-up across cores
/// costs more than the data path.
pub(crate) fn round_trip(path: &Path<'_>, percentile: usize) -> Result<f64> {
    let echo = path.to.run(|| Ok(UdpSocket::bind((path.address, 0))?))?;
    echo.set_read_timeout(Some(PATIENCE))?;
    let target = echo.local_addr()?;
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || answer(&echo));
        let times = path.from.run(|| ask(target));
        let answered = answering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut times = times?;
        answered?;
        times.sort();
        Ok(times[times.len() * percentile / 100].as_nanos() as f64 / 1e3)
    })
}

fn answer(socket: &UdpSocket) -> Result<()> {
    on_first_core()?;
    let mut buffer = [0; 64];
    for _ in 0..ROUND_TRIPS {
        let (length, from) = socket.recv_from(&mut buffer).context("nobody asks any more")?;
        socket.send_to(&buffer[..length], from)?;
    }
    Ok(())
}

fn ask(target: SocketAddr) -> Result<Vec<Duration>> {
    on_first_core()?;
    let any: SocketAddr = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 64];
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let asked = Instant::now();
        socket.send(&buffer)?;
        let length = socket.recv(&mut buffer).context("no answer")?;
        ensure!(length == buffer.len(), "{length} bytes came back");
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// Puts this thread on the first core.
fn on_first_core() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
