//! Who holds a port, in the calling thread's network namespace.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use overlay::model::{PortRange, Protocol};

/// Who holds a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The process with this ID.
    Process(i32),
    /// No process that `/proc` shows: the kernel's own tunnels have sockets as well.
    Unseen,
}

/// Who holds a port, on whatever local address.
pub(super) fn holder(protocol: Protocol, port: u16) -> Option<Holder> {
    let sockets = sockets(protocol).into_iter().filter(|socket| socket.port == port);
    let inodes: BTreeSet<u64> = sockets.map(|socket| socket.inode).collect();
    (!inodes.is_empty()).then(|| process_with(&inodes).map_or(Holder::Unseen, Holder::Process))
}

/// The lowest of `ports` that a socket holds which other hosts reach, and who has it: one that is bound to a loopback
/// address is in nobody's way.
pub fn lowest_held(protocol: Protocol, ports: PortRange) -> Option<(u16, Holder)> {
    let held: Vec<Socket> = sockets(protocol)
        .into_iter()
        .filter(|socket| ports.contains(socket.port) && !socket.address.is_loopback())
        .collect();
    let port = held.iter().map(|socket| socket.port).min()?;
    let of_port = held.iter().filter(|socket| socket.port == port);
    let inodes: BTreeSet<u64> = of_port.map(|socket| socket.inode).collect();
    Some((port, process_with(&inodes).map_or(Holder::Unseen, Holder::Process)))
}

/// A process in a person's words.
pub fn describe(process: i32) -> String {
    match fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(command) => format!("process {process} ({})", command.trim()),
        Err(_) => format!("process {process}"),
    }
}

/// A socket that keeps its port from being bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

fn sockets(protocol: Protocol) -> Vec<Socket> {
    let tables = match protocol {
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Tcp => ["tcp", "tcp6"],
    };
    let sockets = tables.into_iter().flat_map(|table| {
        // A kernel without IPv6 lacks the second table.
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        parse(&text, protocol)
    });
    sockets.collect()
}

/// The sockets that keep a port from being bound, from a table as in proc_net_tcp(5).
fn parse(table: &str, protocol: Protocol) -> Vec<Socket> {
    /// TCP_LISTEN: a connection does not keep its local port from being listened on.
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        let blocks = protocol == Protocol::Udp || state == LISTEN;
        let (address, port) = local.rsplit_once(':').filter(|_| blocks)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Socket { address: parse_address(address)?, port, inode: inode.parse().ok()? })
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// An address as the kernel prints it: words of 32 bits in the host's byte order. A mapped IPv4 one is an IPv4 one.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// A process that has one of these sockets open.
fn process_with(inodes: &BTreeSet<u64>) -> Option<i32> {
    let links: BTreeSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|process: &i32| has_open(*process, &links))
}

fn has_open(process: i32, links: &BTreeSet<String>) -> bool {
    // A process may end while it is looked at.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| links.contains(target)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0949 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 226 1 0 100 0 0 10 0
   1: 0100007F:0949 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 227 1 0 100 0 0 10 0
   2: 00000000000000000000000001000000:094A 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 228 1 0
   3: 0000000000000000FFFF00000200007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 229 1 0
   4: B80D0120000000000000000001000000:094C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 230 1 0
";

    #[test]
    fn connections_do_not_hold_a_tcp_port() {
        let found = |protocol| -> Vec<(String, u16, u64)> {
            let sockets = parse(TABLE, protocol).into_iter();
            sockets.map(|socket| (socket.address.to_string(), socket.port, socket.inode)).collect()
        };
        let listeners = [
            ("0.0.0.0".to_owned(), 2377, 226),
            ("::1".to_owned(), 2378, 228),
            ("127.0.0.2".to_owned(), 2379, 229),
            ("2001:db8::1".to_owned(), 2380, 230),
        ];
        assert_eq!(found(Protocol::Tcp), listeners);
        assert_eq!(found(Protocol::Udp).len(), listeners.len() + 1);
    }

    #[test]
    fn a_listener_that_others_reach_holds_its_port() {
        let open = TcpListener::bind("0.0.0.0:0").unwrap();
        let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
        let range = |listener: &TcpListener| {
            let port = listener.local_addr().unwrap().port();
            PortRange::new(port, port).unwrap()
        };
        let me = Holder::Process(std::process::id().try_into().unwrap());
        assert_eq!(lowest_held(Protocol::Tcp, range(&open)), Some((range(&open).first(), me)));
        assert_eq!(lowest_held(Protocol::Tcp, range(&loopback)), None);
        assert_eq!(holder(Protocol::Tcp, range(&loopback).first()), Some(me));
    }
}
