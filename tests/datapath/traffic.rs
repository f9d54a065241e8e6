//! Real traffic between two nodes' endpoints: the kernel's own stack is the judge.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use overlay::model::UnderlayFamily;
use overlay::reconcile::tables::{TableAction, VtepEntry};

use crate::lab::{Lab, address};

#[test]
fn full_size_pings_and_streams_cross_an_ipv4_underlay() {
    cross(UnderlayFamily::V4);
}

#[test]
fn full_size_pings_and_streams_cross_an_ipv6_underlay() {
    cross(UnderlayFamily::V6);
}

fn cross(family: UnderlayFamily) {
    let lab = Lab::new(family);
    for from in 0..2 {
        for v6 in [false, true] {
            ping(&lab, from, v6);
            stream(&lab, from, v6);
        }
    }
}

/// A way to the peer that takes less than the endpoints' MTU: the answers must make the senders fit in.
#[test]
fn streams_adapt_to_a_smaller_way() {
    const SMALLER: u16 = 1300;
    let mut lab = Lab::new(UnderlayFamily::V4);
    for index in 0..2 {
        let vtep = lab.nodes[1 - index].vtep;
        lab.nodes[index].apply(TableAction::PutVtep(vtep, VtepEntry { mtu: SMALLER }));
    }
    for v6 in [false, true] {
        stream(&lab, 0, v6);
        let route = lab.nodes[0].endpoint.run(&format!("ip route get {}", address(1, v6)));
        assert!(route.contains("mtu 1300"), "{route}");
    }
}

/// Packets that fill the MTU exactly and may not be fragmented.
fn ping(lab: &Lab, from: usize, v6: bool) {
    let size = lab.mtu - if v6 { 48 } else { 28 };
    let to = address(1 - from, v6);
    let command = format!("ping -c 3 -i 0.01 -W 2 -M do -s {size} {to}");
    let output = lab.nodes[from].endpoint.enter(|| {
        std::process::Command::new("ping").args(command.split_whitespace().skip(1)).output().unwrap()
    });
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), lab.drops());
}

/// A stream that the sending kernel hands over in packets far larger than the MTU.
fn stream(lab: &Lab, from: usize, v6: bool) {
    const SIZE: usize = 16 << 20;
    let address = address(1 - from, v6);
    let listener =
        lab.nodes[1 - from].endpoint.enter(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..SIZE).map(|at| ((at * 31) >> 8) as u8).collect();
    let host = &lab.nodes[from].host;
    let before = (host.counter("under0", "tx_bytes"), host.counter("under0", "tx_packets"));
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::with_capacity(SIZE);
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = lab.nodes[from].endpoint.enter(|| TcpStream::connect(to).unwrap());
        stream.write_all(&sent).unwrap();
        drop(stream);
        receiver.join().unwrap()
    });
    assert!(received == sent, "{} bytes arrived, or others\n{}", received.len(), lab.drops());
    let bytes = host.counter("under0", "tx_bytes") - before.0;
    let packets = host.counter("under0", "tx_packets") - before.1;
    assert!(
        bytes / packets > u64::from(lab.mtu) * 2,
        "{bytes} bytes in {packets} packets: cut before the wire"
    );
}
