//! A client of nodes' ports that does what no agent does, from an address of its own.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use overlay_harness::{Netns, Node};
use overlayd::identity::server_name;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// The manager API's port and gossip's, the defaults.
pub(crate) const MANAGER_PORT: u16 = 2377;
pub(crate) const GOSSIP_PORT: u16 = 7946;
/// Longer than any deadline there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody at an address of the nodes' link.
pub(crate) struct Caller {
    netns: Netns,
    pub(crate) addr: IpAddr,
    target: SocketAddr,
}

/// What TLS runs in.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Caller {
    /// One who is at a node's namespace, with an address that nobody else has.
    pub(crate) fn at(node: &Node, addr: IpAddr, target: SocketAddr) -> Result<Self> {
        node.netns().ip(&format!("address add {addr}/24 dev eth0"))?;
        Ok(Self { netns: node.netns().clone(), addr, target })
    }

    /// Opens a connection, and says nothing.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        self.netns.run(|| self.connect_here())
    }

    /// The same, on a thread that is in the namespace already.
    fn connect_here(&self) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.addr, 0).into())?;
        socket.connect_timeout(&self.target.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    /// Holds so many connections open, says nothing on them, and opens another for each that is closed, while something is
    /// done.
    pub(crate) fn crowd<T>(&self, size: usize, doing: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut held =
            self.netns.run(|| (0..size).map(|_| self.connect_here()).collect::<Result<Vec<_>>>())?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let crowd = scope.spawn(|| {
                self.netns.run(|| {
                    for number in (0..size).cycle() {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        held[number] = self.connect_here()?;
                        sleep(Duration::from_millis(1));
                    }
                    Ok(())
                })
            });
            let outcome = doing();
            stop.store(true, Ordering::Relaxed);
            crowd.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            outcome
        })
    }

    /// Opens one with these settings. What the manager thinks of a certificate shows when something is read.
    pub(crate) fn tls(&self, config: &Arc<ClientConfig>) -> Result<Tls> {
        let connection = ClientConnection::new(Arc::clone(config), server_name())?;
        Ok(StreamOwned::new(connection, self.connect()?))
    }

    /// Posts a body that says it has `length` bytes; hands back the answer's first line.
    pub(crate) fn post(
        &self,
        config: &Arc<ClientConfig>,
        path: &str,
        body: &[u8],
        length: usize,
    ) -> Result<String> {
        let mut stream = self.tls(config)?;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = [0; 256];
        let read = stream.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..read]);
        answer.lines().next().map(str::to_owned).context("no answer")
    }
}
