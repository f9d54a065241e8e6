//! A server as a service's backend: over TCP and UDP it tells its name and the address that it saw, and gives back what
//! it was sent. [`crate::client`] asks it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::netns::Netns;
use crate::traffic::deepen;

/// How long a thread waits before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// The most that one question may carry, in bytes: the largest UDP payload with room for what the server adds.
pub const MOST: usize = 60_000;

/// Listens on one port, of both protocols and both families, until it is dropped.
pub struct Server {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// The port is taken there.
    pub fn start(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        let (listener, socket) = netns
            .run(|| {
                let any = (Ipv6Addr::UNSPECIFIED, port);
                Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?))
            })
            .with_context(|| format!("port {port} in {netns}"))?;
        deepen(&socket)?;
        socket.set_read_timeout(Some(LOOK))?;
        // It is for accept(2), too (socket(7)).
        let wait = TimeVal::milliseconds(i64::try_from(LOOK.as_millis())?);
        setsockopt(&listener, sockopt::ReceiveTimeout, &wait).context("SO_RCVTIMEO")?;
        let done = Arc::new(AtomicBool::new(false));
        let over_tcp = {
            let (name, done) = (name.to_owned(), Arc::clone(&done));
            std::thread::spawn(move || accept(&listener, &name, &done))
        };
        let over_udp = {
            let (name, done) = (name.to_owned(), Arc::clone(&done));
            std::thread::spawn(move || answer_datagrams(&socket, &name, &done))
        };
        Ok(Self { done, threads: vec![over_tcp, over_udp] })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What the server makes of a question: its name, the address that it saw, a line's end, the question itself.
fn answer(name: &str, from: SocketAddr, question: &[u8]) -> Vec<u8> {
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    [format!("{name} {from}\n").as_bytes(), question].concat()
}

fn accept(listener: &TcpListener, name: &str, done: &AtomicBool) {
    std::thread::scope(|scope| {
        while !done.load(Ordering::Relaxed) {
            if let Ok((stream, from)) = listener.accept() {
                // Where a connection breaks, the client finds out.
                scope.spawn(move || answer_stream(stream, from, name, done));
            }
        }
    });
}

fn answer_stream(mut stream: TcpStream, from: SocketAddr, name: &str, done: &AtomicBool) -> Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_nodelay(true)?;
    let mut length = [0; 4];
    while !done.load(Ordering::Relaxed) && fill(&mut stream, &mut length, done)? {
        let size = u32::from_be_bytes(length) as usize;
        ensure!(size <= MOST, "a question of {size} bytes");
        let mut question = vec![0; size];
        if !fill(&mut stream, &mut question, done)? {
            break;
        }
        let answer = answer(name, from, &question);
        let length = u32::try_from(answer.len())?.to_be_bytes();
        stream.write_all(&[&length, &answer[..]].concat())?;
    }
    Ok(())
}

/// Fills the buffer; false if the stream ends, or the server does, before.
fn fill(stream: &mut TcpStream, buffer: &mut [u8], done: &AtomicBool) -> Result<bool> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.read(&mut buffer[length..]) {
            Ok(0) => return Ok(false),
            Ok(more) => length += more,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) if done.load(Ordering::Relaxed) => return Ok(false),
            Err(_) => {}
        }
    }
    Ok(true)
}

fn answer_datagrams(socket: &UdpSocket, name: &str, done: &AtomicBool) {
    let mut buffer = vec![0; MOST];
    while !done.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // Where the answer cannot go, the client finds out.
            let _ = socket.send_to(&answer(name, from, &buffer[..length]), from);
        }
    }
}
