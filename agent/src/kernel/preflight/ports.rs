//! Who holds a port, in the calling thread's network namespace.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Who holds a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// The process with this ID.
    Process(i32),
    /// No process that `/proc` shows: the kernel's own tunnels have sockets as well.
    Unseen,
}

/// Who holds a port, on whatever local address.
pub(super) fn holder(transport: Transport, port: u16) -> Option<Holder> {
    let inodes = transport.tables().into_iter().flat_map(|table| {
        // A kernel without IPv6 lacks the second table.
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        inodes(&text, transport, port)
    });
    let inodes: BTreeSet<u64> = inodes.collect();
    (!inodes.is_empty()).then(|| process_with(&inodes).map_or(Holder::Unseen, Holder::Process))
}

/// A process in a person's words.
pub(super) fn describe(process: i32) -> String {
    match fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(command) => format!("process {process} ({})", command.trim()),
        Err(_) => format!("process {process}"),
    }
}

impl Transport {
    fn tables(self) -> [&'static str; 2] {
        match self {
            Self::Udp => ["udp", "udp6"],
            Self::Tcp => ["tcp", "tcp6"],
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// The inodes of the sockets that keep a port from being bound, from a table as in proc_net_tcp(5).
fn inodes(table: &str, transport: Transport, port: u16) -> Vec<u64> {
    /// TCP_LISTEN: a connection does not keep its local port from being listened on.
    const LISTEN: &str = "0A";
    let holds = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        let (_, local_port) = local.rsplit_once(':')?;
        let same = u16::from_str_radix(local_port, 16).ok()? == port;
        let blocks = transport == Transport::Udp || state == LISTEN;
        (same && blocks).then(|| inode.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(holds).collect()
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
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0949 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 226 1 0 100 0 0 10 0
   1: 0100007F:0949 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 227 1 0 100 0 0 10 0
   2: 00000000:094A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 228 1 0 100 0 0 10 0
";

    #[test]
    fn connections_do_not_hold_a_tcp_port() {
        assert_eq!(inodes(TABLE, Transport::Tcp, 2377), [226]);
        assert_eq!(inodes(TABLE, Transport::Udp, 2377), [226, 227]);
        assert!(inodes(TABLE, Transport::Tcp, 2379).is_empty());
    }
}
