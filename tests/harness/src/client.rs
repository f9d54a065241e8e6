//! A client of [`crate::server`]: it asks, and compares every byte of the answer.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use overlay::model::Protocol;

use crate::netns::Netns;
use crate::server::MOST;
use crate::traffic::{PATIENCE, Pattern, udp_to};

/// How many conversations [`ask_often`] has at once.
const AT_ONCE: usize = 24;

/// A connection over TCP, or a socket for UDP. Dropping it closes it.
pub struct Conversation {
    own: SocketAddr,
    target: SocketAddr,
    sees: Sees,
    socket: Socket,
}

/// Whom a server must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// The client, with its own address and port.
    Client,
    /// The address that the client asked.
    Asked,
    /// That address.
    Address(IpAddr),
}

/// What a server says with each answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its name.
    pub server: String,
    /// Whom it saw.
    pub seen: SocketAddr,
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Conversation {
    /// Opens one in the calling thread's namespace; no step of it may take longer than `patience`.
    ///
    /// # Errors
    /// No connection.
    pub fn open(protocol: Protocol, target: SocketAddr, patience: Duration) -> Result<Self> {
        let (own, socket) = match protocol {
            Protocol::Tcp => {
                let stream = TcpStream::connect_timeout(&target, patience).context("no connection")?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                (stream.local_addr()?, Socket::Tcp(stream))
            }
            Protocol::Udp => {
                let socket = udp_to(target)?;
                socket.set_read_timeout(Some(patience))?;
                (socket.local_addr()?, Socket::Udp(socket))
            }
        };
        Ok(Self { own, target, sees: Sees::Client, socket })
    }

    /// The same, but the server must see that.
    #[must_use]
    pub fn that(self, sees: Sees) -> Self {
        Self { sees, ..self }
    }

    /// Where it is asked from.
    pub(crate) fn port(&self) -> u16 {
        self.own.port()
    }

    /// Asks; the answer must hold the question, and the server must have seen whom it must. Hands back the server's name.
    ///
    /// # Errors
    /// No answer, or another one.
    pub fn ask(&mut self, question: &[u8]) -> Result<String> {
        let answer = self.exchange(question)?;
        self.check(answer)
    }

    fn check(&self, Answer { server, seen }: Answer) -> Result<String> {
        let (right, expected) = match self.sees {
            Sees::Client => (seen == self.own, self.own.ip()),
            Sees::Asked => (seen.ip() == self.target.ip(), self.target.ip()),
            Sees::Address(address) => (seen.ip() == address, address),
        };
        ensure!(right, "{server} saw {seen} and not {expected}");
        Ok(server)
    }

    /// Asks; the answer must hold the question.
    ///
    /// # Errors
    /// No answer, or another one.
    pub fn exchange(&mut self, question: &[u8]) -> Result<Answer> {
        let answer = match &mut self.socket {
            Socket::Tcp(stream) => over_tcp(stream, question)?,
            Socket::Udp(socket) => over_udp(socket, question)?,
        };
        let Some(end) = answer.iter().position(|byte| *byte == b'\n') else { bail!("an answer of one line") };
        let (head, echo) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 1..]);
        let (server, seen) = head.split_once(' ').context("an answer without an address")?;
        ensure!(echo == question, "{server}'s echo differs from what it was sent");
        Ok(Answer { server: server.to_owned(), seen: seen.parse()? })
    }
}

fn over_tcp(stream: &mut TcpStream, question: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(question.len())?.to_be_bytes();
    stream.write_all(&[&length, question].concat()).context("sending")?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("receiving")?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    ensure!(answer.len() <= 2 * MOST, "an answer of {} bytes", answer.len());
    stream.read_exact(&mut answer).context("receiving")?;
    Ok(answer)
}

fn over_udp(socket: &UdpSocket, question: &[u8]) -> Result<Vec<u8>> {
    socket.send(question).context("sending")?;
    let mut answer = vec![0; 2 * MOST];
    let length = socket.recv(&mut answer).context("receiving")?;
    answer.truncate(length);
    Ok(answer)
}

/// Questions that differ from each other: in length, of which none exceeds `most` bytes, and in every eighth byte.
pub(crate) fn question(number: usize, most: usize) -> Vec<u8> {
    Pattern::starting_at(number as u64).bytes(1 + number * 37 % most)
}

/// Has that many conversations with a target, many at once, each of two questions. Hands back how many each server
/// answered, which must have seen the client's own address.
///
/// # Errors
/// The first conversation that failed, and why.
pub fn ask_often(
    from: &Netns,
    protocol: Protocol,
    target: SocketAddr,
    count: usize,
) -> Result<BTreeMap<String, usize>> {
    ask_often_as(from, Sees::Client, protocol, target, count)
}

/// As [`ask_often`], but the servers must have seen that.
///
/// # Errors
/// As there.
pub fn ask_often_as(
    from: &Netns,
    sees: Sees,
    protocol: Protocol,
    target: SocketAddr,
    count: usize,
) -> Result<BTreeMap<String, usize>> {
    let some = |first: usize| -> Result<Vec<String>> {
        (first..count)
            .step_by(AT_ONCE)
            .map(|number| {
                converse(sees, protocol, target, number)
                    .with_context(|| format!("conversation {number} over {protocol} with {target}"))
            })
            .collect()
    };
    // Threads are in the namespace of the thread that starts them.
    let servers = from.run(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE).map(|first| scope.spawn(move || some(first))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })
    })?;
    let mut counts = BTreeMap::new();
    for server in servers.into_iter().flatten() {
        *counts.entry(server).or_default() += 1;
    }
    Ok(counts)
}

/// One conversation, in which neither the server nor whom it sees may change.
fn converse(sees: Sees, protocol: Protocol, target: SocketAddr, number: usize) -> Result<String> {
    /// Fits a packet of the overlay with what the server adds, as the underlay carries 1,500 bytes.
    const MOST: usize = 1200;
    let mut conversation = Conversation::open(protocol, target, PATIENCE)?.that(sees);
    let first = conversation.exchange(&question(number, MOST))?;
    let again = conversation.exchange(&question(number + 1, MOST))?;
    ensure!(first == again, "{first:?} came first, and then {again:?}");
    conversation.check(first)
}
