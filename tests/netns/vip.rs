//! Services' virtual addresses: every endpoint of the network reaches all backends by them, the backends included, over
//! TCP and UDP, whole, and as if one host answered.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::traffic::{Ping, Responder, who_answers};
use overlay_harness::{Attached, Lab, Netns, Node, Topology, eventually};

use crate::services::detail;
use crate::steps::{SOON, create_network};

const PORT: u16 = 80;

/// So many connections, or datagrams, that chance does not leave one of two backends out.
const MANY: usize = 40;

/// More than a packet holds that the kernel merged, and not a multiple of anything.
const MUCH: usize = 3_000_017;

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_virtual_address_leads_to_every_backend_over_ipv4() {
    Lab::run(Topology::of(3), every_client_reaches_every_backend);
}

#[test]
fn a_virtual_address_leads_to_every_backend_over_ipv6() {
    Lab::run(Topology::of(3).over_ipv6(), every_client_reaches_every_backend);
}

fn every_client_reaches_every_backend(lab: &Lab) -> Result<()> {
    let [n1, n2, n3] = lab.nodes();
    let Web { backends, vips, responders: _responders } = Web::start(lab, [n1, n2, n3])?;
    let [web1, web2] = &backends;
    let names: BTreeSet<String> = ["web1", "web2"].map(str::to_owned).into();
    // The last one's large packets come by the VXLAN device.
    let clients = [
        lab.attach(n3, "blue", "far", &[])?,
        lab.attach(n1, "blue", "beside", &[])?,
        lab.attach(n3, "blue", "router", &["--forward"])?,
    ];
    for (client, vip) in clients.iter().flat_map(|client| vips.map(|vip| (client, vip))) {
        eventually("the client reaches the virtual address", SOON, || ask(&client.netns, vip, 1))?;
        Ping::to(vip).all_answered(&client.netns)?;
        let mut answers = asks(&client.netns, vip, MANY)?;
        answers.push(ask(&client.netns, vip, MUCH)?);
        let seen: BTreeSet<IpAddr> = answers.iter().map(|answer| answer.client).collect();
        ensure!(seen == [own(client, vip)].into(), "{} of {} is seen as {seen:?}", vip, client.netns);
        ensure!(servers(&answers) == names, "{vip} from {}: {:?}", client.netns, servers(&answers));
        ensure!(by_udp(&client.netns, vip)? == names, "UDP to {vip} from {}", client.netns);
    }
    for (backend, vip) in [web1, web2].into_iter().flat_map(|backend| vips.map(|vip| (backend, vip))) {
        let name = backend.row.endpoint.name.to_string();
        let mut answers = asks(&backend.netns, vip, MANY)?;
        answers.extend((0..8).map(|_| ask(&backend.netns, vip, MUCH)).collect::<Result<Vec<_>>>()?);
        ensure!(servers(&answers) == names, "{name} itself reaches {:?}", servers(&answers));
        for answer in answers {
            let expected = if answer.server == name { vip } else { own(backend, vip) };
            ensure!(answer.client == expected, "{name} asks {vip}: {answer:?}");
        }
        ensure!(by_udp(&backend.netns, vip)? == names, "UDP to {vip} from {name} itself");
    }
    Ok(())
}

#[test]
fn connections_go_to_the_backends_that_are_left() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        let web = Web::start(lab, [n1, n2, n3])?;
        let client = lab.attach(n3, "blue", "client", &[])?;
        for vip in web.vips {
            eventually("the client reaches the virtual address", SOON, || ask(&client.netns, vip, 1))?;
        }
        let mut lasting = web
            .vips
            .iter()
            .flat_map(|vip| (0..MANY).map(|_| Connection::open(&client.netns, *vip)))
            .collect::<Result<Vec<_>>>()?;
        let first = lasting.iter_mut().map(|connection| connection.ask(10)).collect::<Result<Vec<_>>>()?;

        n2.ctl(&["endpoint", "detach", "blue/web2"])?;
        for vip in web.vips {
            eventually("no new flow goes to the backend that is gone", SOON, || {
                let answers = asks(&client.netns, vip, MANY)?;
                ensure!(servers(&answers) == ["web1".to_owned()].into(), "{answers:?}");
                ensure!(by_udp(&client.netns, vip)? == ["web1".to_owned()].into());
                Ok(())
            })?;
        }
        let mut kept = 0;
        for (connection, before) in lasting.iter_mut().zip(first) {
            if before.server == "web1" {
                ensure!(connection.ask(100_000)? == before, "a connection to web1 changed");
                kept += 1;
            }
        }
        ensure!(kept > 0, "no connection went to web1");
        Ok(())
    });
}

#[test]
fn a_service_without_a_virtual_address_has_none() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        nodes[1].ctl(&["service", "create", "web", "--network", "blue", "--endpoint-mode", "dnsrr"])?;
        let made = detail(nodes[1], "web")?.service;
        ensure!(made.vips.is_empty(), "{:?}", made.vips);
        Ok(())
    });
}

/// The service `web` with a backend on each of the first two nodes, which answer.
struct Web {
    backends: [Attached; 2],
    /// IPv4's and IPv6's.
    vips: [IpAddr; 2],
    responders: Vec<Responder>,
}

impl Web {
    fn start(lab: &Lab, nodes: [&Node; 3]) -> Result<Self> {
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        nodes[0].ctl(&["service", "create", "web", "--network", "blue"])?;
        let vips = detail(nodes[0], "web")?.service.vips.iter().map(|vip| vip.address).collect::<Vec<_>>();
        let vips = vips.try_into().map_err(|vips| anyhow::anyhow!("one a family: {vips:?}"))?;
        let backends = [
            lab.attach(nodes[0], "blue", "web1", &["--service", "web"])?,
            lab.attach(nodes[1], "blue", "web2", &["--service", "web"])?,
        ];
        let mut responders = Vec::new();
        for backend in &backends {
            let name = backend.row.endpoint.name.to_string();
            responders.push(Responder::start(&backend.netns, &name)?);
            serve(&backend.netns, name)?;
        }
        Ok(Self { backends, vips, responders })
    }
}

/// An endpoint's address of the same family.
fn own(endpoint: &Attached, vip: IpAddr) -> IpAddr {
    if vip.is_ipv4() { endpoint.ip4() } else { endpoint.ip6() }
}

/// Answers on TCP until the test ends: to each question, its name, whom it sees, and the question.
fn serve(netns: &Netns, name: String) -> Result<()> {
    let listener = netns.run(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let name = name.clone();
            std::thread::spawn(move || answer(stream, &name));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream, name: &str) -> Result<()> {
    let client = stream.peer_addr()?.ip().to_canonical();
    loop {
        let question = receive(&mut stream)?;
        send(&mut stream, format!("{name} {client}").as_bytes())?;
        send(&mut stream, &question)?;
    }
}

fn send(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let length = u32::try_from(message.len())?.to_be_bytes();
    stream.write_all(&[&length, message].concat()).context("sending")
}

fn receive(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("receiving")?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).context("receiving")?;
    Ok(message)
}

/// Who answered, and who seemed to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    server: String,
    client: IpAddr,
}

struct Connection(TcpStream);

impl Connection {
    fn open(from: &Netns, vip: IpAddr) -> Result<Self> {
        let connect = || Ok(TcpStream::connect_timeout(&SocketAddr::new(vip, PORT), PATIENCE)?);
        let stream = from.run(connect).with_context(|| format!("connecting from {from} to {vip}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Has that many bytes come back.
    fn ask(&mut self, bytes: usize) -> Result<Answer> {
        let question: Vec<u8> =
            (0..bytes as u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        send(&mut self.0, &question)?;
        let head = String::from_utf8(receive(&mut self.0)?)?;
        ensure!(receive(&mut self.0)? == question, "other bytes than were sent");
        let (server, client) = head.split_once(' ').context("a name and an address")?;
        Ok(Answer { server: server.to_owned(), client: client.parse()? })
    }
}

fn ask(from: &Netns, vip: IpAddr, bytes: usize) -> Result<Answer> {
    Connection::open(from, vip)?.ask(bytes)
}

fn asks(from: &Netns, vip: IpAddr, times: usize) -> Result<Vec<Answer>> {
    (0..times).map(|number| ask(from, vip, 1 + number * 100)).collect()
}

fn servers(answers: &[Answer]) -> BTreeSet<String> {
    answers.iter().map(|answer| answer.server.clone()).collect()
}

/// Who answers datagrams of all lengths, each from another port.
fn by_udp(from: &Netns, vip: IpAddr) -> Result<BTreeSet<String>> {
    (0..MANY).map(|number| who_answers(from, vip, number * 33)).collect()
}
