//! Traffic that goes on while a test breaks something: a datagram every millisecond, and a TCP stream. Both check
//! every byte, and tell what was lost when they are stopped.

use std::collections::HashSet;
use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::netns::Netns;
use crate::traffic::{PATIENCE, Pattern, Responder, connect, read_full, udp_to};
use crate::wait::eventually;

/// What a stream is written in, in bytes.
const PIECE: usize = 8 * 1024;

const TICK: Duration = Duration::from_millis(1);

/// An answer that is not there so long after the one before it is lost; on a busy machine, others may be late.
const LATE: Duration = Duration::from_secs(1);

/// A question every millisecond to the [`Responder`] at an address.
pub struct UdpProbe {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<()>>,
}

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// The questions sent.
    pub sent: u64,
    /// Those never answered.
    pub lost: u64,
}

impl UdpProbe {
    /// Starts one, and waits for its first answer.
    ///
    /// # Errors
    /// None comes.
    pub fn start(from: &Netns, address: IpAddr) -> Result<Self> {
        let socket = from.run(|| udp_to(SocketAddr::new(address, Responder::PORT)))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sent = Arc::new(OnceLock::new());
        let receiver = {
            let (socket, sent, answered) = (socket.try_clone()?, Arc::clone(&sent), Arc::clone(&answered));
            std::thread::spawn(move || receive(&socket, &sent, &answered))
        };
        let sender = {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let all = send(&socket, &done);
                let _ = sent.set(*all.as_ref().unwrap_or(&0));
                all
            })
        };
        let probe = Self { done, answered, sender, receiver };
        eventually("the probe's first answer", PATIENCE, || {
            ensure!(probe.answered() > 0, "none yet");
            Ok(())
        })?;
        Ok(probe)
    }

    /// How many questions have been answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until that many more questions are answered.
    ///
    /// # Errors
    /// They are not, for many times as long as it takes.
    pub fn wait_for_more(&self, answers: u64) -> Result<()> {
        self.wait_for(self.answered() + answers)
    }

    /// Waits until that many questions are answered, of all since the start.
    ///
    /// # Errors
    /// They are not, for many times as long as it takes.
    pub fn wait_for(&self, goal: u64) -> Result<()> {
        eventually("more answers", PATIENCE * 2, || {
            ensure!(self.answered() >= goal, "{} of {goal} came", self.answered());
            Ok(())
        })
    }

    /// Stops it, and waits for answers that are still on their way.
    ///
    /// # Errors
    /// It could not send, or an answer was wrong.
    pub fn stop(self) -> Result<ProbeReport> {
        self.done.store(true, Ordering::Relaxed);
        let sent = join(self.sender)?;
        join(self.receiver)?;
        Ok(ProbeReport { sent, lost: sent.saturating_sub(self.answered.load(Ordering::Relaxed)) })
    }
}

fn send(socket: &UdpSocket, done: &AtomicBool) -> Result<u64> {
    let mut sent = 0_u64;
    while !done.load(Ordering::Relaxed) {
        socket.send(&sent.to_be_bytes()).context("the probe cannot send")?;
        sent += 1;
        std::thread::sleep(TICK);
    }
    Ok(sent)
}

/// Counts each answer once, until all that were `sent` are answered or late.
fn receive(socket: &UdpSocket, sent: &OnceLock<u64>, answered: &AtomicU64) -> Result<()> {
    let (mut seen, mut last, mut buffer) = (HashSet::new(), Instant::now(), [0; 128]);
    while sent.get().is_none_or(|sent| (seen.len() as u64) < *sent && last.elapsed() < LATE) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        last = Instant::now();
        let number = buffer[..length].last_chunk::<8>().context("a short answer")?;
        if seen.insert(u64::from_be_bytes(*number)) {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A TCP stream that never ends until it is told to.
pub struct TcpProbe {
    done: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<()>>,
}

impl TcpProbe {
    /// Starts one, and waits until it flows.
    ///
    /// # Errors
    /// No connection.
    pub fn start(from: &Netns, to: &Netns, address: IpAddr) -> Result<Self> {
        let listener = to.run(|| Ok(TcpListener::bind((address, 0))?))?;
        let target = listener.local_addr()?;
        let stream = from.run(|| connect(target))?;
        let (mut incoming, _) = listener.accept()?;
        let (done, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::clone(&done);
        let sender = std::thread::spawn(move || stream_out(stream, &stop));
        let count = Arc::clone(&received);
        let receiver = std::thread::spawn(move || {
            let (mut pattern, mut buffer) = (Pattern::default(), vec![0; Pattern::CHUNK]);
            loop {
                let length = read_full(&mut incoming, &mut buffer)?;
                ensure!(
                    buffer[..length] == pattern.chunk()[..length],
                    "the stream brought other bytes than were sent"
                );
                count.fetch_add(length as u64, Ordering::Relaxed);
                if length < buffer.len() {
                    return Ok(());
                }
            }
        });
        let probe = Self { done, received, sender, receiver };
        probe.wait_for_more(Pattern::CHUNK as u64)?;
        Ok(probe)
    }

    /// Waits until that many more bytes have arrived.
    ///
    /// # Errors
    /// The stream stands still, or is broken.
    pub fn wait_for_more(&self, bytes: u64) -> Result<()> {
        self.wait_for(self.received() + bytes)
    }

    /// How many bytes have arrived so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until that many bytes have arrived, of all since the start.
    ///
    /// # Errors
    /// The stream stands still, or is broken.
    pub fn wait_for(&self, goal: u64) -> Result<()> {
        eventually("more bytes of the stream", PATIENCE * 2, || {
            let received = self.received();
            ensure!(received >= goal, "{received} of {goal} bytes came");
            Ok(())
        })
    }

    /// Ends the stream, and hands back how many bytes it carried.
    ///
    /// # Errors
    /// It was reset, or bytes are missing or wrong.
    pub fn stop(self) -> Result<u64> {
        self.done.store(true, Ordering::Relaxed);
        let sent = join(self.sender).context("the stream's sender")?;
        join(self.receiver).context("the stream's receiver")?;
        let received = self.received.load(Ordering::Relaxed);
        ensure!(received == sent, "{received} of {sent} bytes arrived");
        Ok(received)
    }
}

/// Some of a chunk every two milliseconds: always some on their way, and the machine left with time for others.
fn stream_out(mut stream: std::net::TcpStream, done: &AtomicBool) -> Result<u64> {
    let (mut pattern, mut sent) = (Pattern::default(), 0);
    while !done.load(Ordering::Relaxed) {
        for some in pattern.chunk().chunks(PIECE) {
            stream.write_all(some).context("the stream broke")?;
            std::thread::sleep(TICK * 2);
        }
        sent += Pattern::CHUNK as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
