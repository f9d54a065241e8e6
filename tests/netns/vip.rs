//! Services' virtual addresses: every endpoint of the network reaches all backends by them, the backends included, over
//! TCP and UDP, whole, and as if one host answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use overlay::model::Protocol;
use overlay_harness::client::{Answer, Conversation, ask_often};
use overlay_harness::server::{MOST, Server};
use overlay_harness::traffic::Ping;
use overlay_harness::{Attached, Lab, Netns, Node, Topology, eventually};

use crate::services::detail;
use crate::steps::{SOON, create_network};

const PORT: u16 = 80;

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// So many conversations that chance does not leave one of two backends out.
const MANY: usize = 40;

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
    let web = Web::start(lab, [n1, n2, n3])?;
    // The last one's large packets come by the VXLAN device.
    let clients = [
        lab.attach(n3, "blue", "far", &[])?,
        lab.attach(n1, "blue", "beside", &[])?,
        lab.attach(n3, "blue", "router", &["--forward"])?,
    ];
    for (client, vip) in clients.iter().flat_map(|client| web.vips.map(|vip| (client, vip))) {
        reaches(client, vip)?;
        Ping::to(vip.ip()).all_answered(&client.netns)?;
        for protocol in PROTOCOLS {
            let servers: BTreeSet<_> = ask_often(&client.netns, protocol, vip, MANY)?.into_keys().collect();
            ensure!(servers == web.names(), "{protocol} from {} to {vip}: {servers:?}", client.netns);
        }
        transfer(client, vip)?;
    }
    for (backend, vip) in web.backends.iter().flat_map(|backend| web.vips.map(|vip| (backend, vip))) {
        for protocol in PROTOCOLS {
            asks_itself_and_the_other(&web, backend, protocol, vip)?;
        }
    }
    Ok(())
}

/// Conversations of a backend with the virtual address: where it answers itself, it sees the virtual address ask.
fn asks_itself_and_the_other(web: &Web, from: &Attached, protocol: Protocol, vip: SocketAddr) -> Result<()> {
    let own = if vip.is_ipv4() { from.ip4() } else { from.ip6() };
    let mut servers = BTreeSet::new();
    for number in 0..MANY {
        let mut conversation = open(&from.netns, protocol, vip)?;
        // Datagrams are no larger than a packet.
        let length = if protocol == Protocol::Tcp { MOST } else { 1200 };
        for question in [vec![0x5a; number], vec![0xa5; length]] {
            let Answer { server, seen } = conversation.exchange(&question)?;
            let expected = if server == name(from) { vip.ip() } else { own };
            ensure!(seen.ip() == expected, "{protocol} from {own} to {vip}: {server} saw {seen}");
            servers.insert(server);
        }
    }
    ensure!(servers == web.names(), "{protocol} from {own} to {vip}: {servers:?}");
    Ok(())
}

#[test]
fn conversations_go_on_with_the_backends_that_are_left() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        let web = Web::start(lab, [n1, n2, n3])?;
        let client = lab.attach(n3, "blue", "client", &[])?;
        let mut lasting = Vec::new();
        for vip in web.vips {
            reaches(&client, vip)?;
            for protocol in PROTOCOLS {
                for _ in 0..MANY {
                    let mut conversation = open(&client.netns, protocol, vip)?;
                    let server = conversation.ask(b"the first question")?;
                    lasting.push((protocol, conversation, server));
                }
            }
        }
        n2.ctl(&["endpoint", "detach", "blue/web2"])?;
        let left = BTreeSet::from(["web1".to_owned()]);
        for (vip, protocol) in web.vips.into_iter().flat_map(|vip| PROTOCOLS.map(|protocol| (vip, protocol)))
        {
            eventually("no new flow goes to the backend that is gone", SOON, || {
                let servers: BTreeSet<_> =
                    ask_often(&client.netns, protocol, vip, MANY)?.into_keys().collect();
                ensure!(servers == left, "{protocol} to {vip}: {servers:?}");
                Ok(())
            })?;
        }
        for (protocol, mut conversation, server) in lasting {
            let answered = conversation.ask(b"one more question");
            if protocol == Protocol::Udp || server == "web1" {
                ensure!(answered? == "web1");
            } else {
                // The backend that is left knows nothing of the connection.
                let error = format!("{:#}", answered.err().unwrap_or_else(|| anyhow::anyhow!("an answer")));
                ensure!(error.contains("reset"), "a connection to the backend that is gone: {error}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_service_in_dnsrr_mode_has_no_virtual_address() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        nodes[0].ctl(&["service", "create", "web", "--network", "blue", "--endpoint-mode", "dnsrr"])?;
        let made = detail(nodes[0], "web")?.service;
        ensure!(made.vips.is_empty(), "{:?}", made.vips);
        Ok(())
    });
}

/// The service `web` with a backend on each of the first two nodes, which answer.
struct Web {
    backends: [Attached; 2],
    /// IPv4's and IPv6's.
    vips: [SocketAddr; 2],
    _servers: Vec<Server>,
}

impl Web {
    fn start(lab: &Lab, nodes: [&Node; 3]) -> Result<Self> {
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        nodes[0].ctl(&["service", "create", "web", "--network", "blue"])?;
        let made = detail(nodes[0], "web")?.service;
        let vips: Vec<_> = made.vips.iter().map(|vip| SocketAddr::new(vip.address, PORT)).collect();
        let vips = vips.try_into().map_err(|vips| anyhow::anyhow!("one of each family: {vips:?}"))?;
        let backends = [
            lab.attach(nodes[0], "blue", "web1", &["--service", "web"])?,
            lab.attach(nodes[1], "blue", "web2", &["--service", "web"])?,
        ];
        let servers = backends.iter().map(|backend| Server::start(&backend.netns, &name(backend), PORT));
        Ok(Self { _servers: servers.collect::<Result<_>>()?, backends, vips })
    }

    fn names(&self) -> BTreeSet<String> {
        self.backends.iter().map(name).collect()
    }
}

fn name(endpoint: &Attached) -> String {
    endpoint.row.endpoint.name.to_string()
}

fn open(from: &Netns, protocol: Protocol, vip: SocketAddr) -> Result<Conversation> {
    from.run(|| Conversation::open(protocol, vip, PATIENCE))
}

fn reaches(client: &Attached, vip: SocketAddr) -> Result<()> {
    eventually("the client reaches the virtual address", SOON, || {
        open(&client.netns, Protocol::Tcp, vip)?.ask(b"anyone?").map(drop)
    })
}

/// More than packets hold that the kernel merged, both ways, with each backend in turn.
fn transfer(client: &Attached, vip: SocketAddr) -> Result<()> {
    for number in 0..8 {
        let mut conversation = open(&client.netns, Protocol::Tcp, vip)?;
        let question: Vec<u8> = (0..MOST).map(|n| (n * 31 + n / 251 + number) as u8).collect();
        for _ in 0..20 {
            conversation.ask(&question)?;
        }
    }
    Ok(())
}
