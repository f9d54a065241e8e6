//! Real traffic between two nodes' endpoints: the kernel's own stack is the judge.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use overlay::model::UnderlayFamily;
use overlay::reconcile::tables::{TableAction, VtepEntry};

use crate::lab::{Lab, address, ip};
use crate::netns::Netns;

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
            let (here, there) = (&lab.nodes[from], &lab.nodes[1 - from]);
            let to = address(1 - from, v6);
            ping(&lab, &here.endpoint, to);
            let before = (here.host.counter("under0", "tx_bytes"), here.host.counter("under0", "tx_packets"));
            stream(&lab, &here.endpoint, &there.endpoint, to);
            let bytes = here.host.counter("under0", "tx_bytes") - before.0;
            let packets = here.host.counter("under0", "tx_packets") - before.1;
            let large = bytes / packets > u64::from(lab.mtu) * 2;
            assert!(large, "{bytes} bytes in {packets} packets: cut before the wire");
        }
    }
}

#[test]
fn endpoints_of_one_node_reach_each_other_and_the_gateway() {
    let mut lab = Lab::new(UnderlayFamily::V4);
    let mtu = lab.mtu;
    let second = lab.nodes[0].add_endpoint("ep1", 2, mtu);
    let first = &lab.nodes[0].endpoint;
    for v6 in [false, true] {
        for (from, to, index) in [(first, &second, 2), (&second, first, 0)] {
            ping(&lab, from, address(index, v6));
            stream(&lab, from, to, address(index, v6));
        }
        ping(&lab, first, if v6 { ip("fd00:1::1") } else { ip("10.1.0.1") });
    }
}

/// A way to the peer that takes less than the endpoints' MTU from now on: the answers must make the sender fit in.
#[test]
fn streams_adapt_to_a_smaller_way() {
    let mut lab = Lab::new(UnderlayFamily::V4);
    let mtu = lab.mtu;
    let [first, second] = &mut lab.nodes;
    for v6 in [false, true] {
        let mut way =
            |mtu| first.data_path.apply(&TableAction::PutVtep(second.vtep, VtepEntry { mtu })).unwrap();
        way(mtu);
        // Who opened a connection after that would know already.
        assert!(carries(&first.endpoint, &second.endpoint, address(1, v6), || way(1300)));
        let route = first.endpoint.run(&format!("ip route get {}", address(1, v6)));
        assert!(route.contains("mtu 1300"), "{route}");
    }
}

/// Packets that fill the MTU exactly and may not be fragmented.
fn ping(lab: &Lab, from: &Netns, to: IpAddr) {
    let size = lab.mtu - if to.is_ipv6() { 48 } else { 28 };
    let arguments = format!("-c 3 -i 0.01 -W 2 -M do -s {size} {to}");
    let output = from.enter(|| Command::new("ping").args(arguments.split_whitespace()).output().unwrap());
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), lab.drops());
}

/// A stream that the sending kernel hands over in packets far larger than the MTU.
fn stream(lab: &Lab, from: &Netns, to: &Netns, address: IpAddr) {
    assert!(carries(from, to, address, || ()), "{}", lab.drops());
}

/// Whether such a stream arrives as it was sent. Something happens once it is open.
fn carries(from: &Netns, to: &Netns, address: IpAddr, happens: impl FnOnce()) -> bool {
    const SIZE: usize = 16 << 20;
    let listener = to.enter(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..SIZE).map(|at| ((at * 31) >> 8) as u8).collect();
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::with_capacity(SIZE);
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = from.enter(|| TcpStream::connect(to).unwrap());
        happens();
        stream.write_all(&sent).unwrap();
        drop(stream);
        receiver.join().unwrap()
    });
    received == sent
}
