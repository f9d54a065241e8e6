//! A client of the manager API that does what no agent does, from an address of its own.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use overlay_harness::{Netns, Node};
use overlayd::identity::server_name;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// The manager API's port, the default.
const PORT: u16 = 2377;
/// Longer than any deadline of the manager API.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody at an address of the nodes' link.
pub(crate) struct Caller {
    netns: Netns,
    pub(crate) addr: IpAddr,
    manager: SocketAddr,
}

/// What TLS runs in.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Caller {
    /// One who is at a node's namespace, with an address that nobody else has.
    pub(crate) fn at(node: &Node, addr: IpAddr, manager: &Node) -> Result<Self> {
        node.netns().ip(&format!("address add {addr}/24 dev eth0"))?;
        let manager = SocketAddr::new(manager.addr(), PORT);
        Ok(Self { netns: node.netns().clone(), addr, manager })
    }

    /// Opens a connection, and says nothing.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        self.netns.run(|| self.connect_here())
    }

    /// The same, on a thread that is in the namespace already.
    pub(crate) fn connect_here(&self) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.addr, 0).into())?;
        socket.connect_timeout(&self.manager.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    /// Runs a closure where [`Self::connect_here`] works.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.netns.run(inside)
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
