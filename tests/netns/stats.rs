//! What `service stats` adds up over the nodes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay::api::ServiceStats;
use overlay::model::Protocol;
use overlay::traffic::Counts;
use overlay_harness::client::Conversation;
use overlay_harness::{Lab, Netns, Node, eventually};

use crate::mesh::{Hook, attach_backend, cluster, create_service};
use crate::steps::SOON;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(5);
/// Conversations by each node, and questions in each of them.
const CONVERSATIONS: u64 = 10;
const QUESTIONS: u64 = 3;
const QUESTION: &[u8] = b"how many?";
/// Bytes of IPv4's and UDP's headers.
const HEADERS: u64 = 28;

#[test]
fn what_clients_send_is_added_up_over_all_nodes_in_tc() {
    Lab::run(Hook::Tc.three_nodes(), |lab| is_added_up(lab, Hook::Tc));
}

#[test]
fn what_clients_send_is_added_up_over_all_nodes_in_xdp() {
    Lab::run(Hook::Xdp.three_nodes(), |lab| is_added_up(lab, Hook::Xdp));
}

fn is_added_up(lab: &Lab, hook: Hook) -> Result<()> {
    let [n1, n2, n3] = lab.nodes();
    let outside = cluster(lab)?;
    create_service(n1, "web", PORT)?;
    create_service(n1, "nobody", PORT + 1)?;
    let _backend = attach_backend(lab, n2, "web", "web1", "1")?;
    let targets = [n1, n2, n3].map(|node| SocketAddr::new(node.address(false), PORT));
    for target in targets {
        eventually("the service is reached", SOON, || {
            open(outside.client(), Protocol::Tcp, target)?.ask(QUESTION)
        })?;
    }
    let before = counts(n3, "web")?;
    // All are open at once, so that each is a flow of its own.
    let mut conversations = Vec::new();
    for target in targets {
        for _ in 0..CONVERSATIONS {
            conversations.push(open(outside.client(), Protocol::Udp, target)?);
        }
    }
    for _ in 0..QUESTIONS {
        conversations.iter_mut().try_for_each(|conversation| conversation.ask(QUESTION).map(drop))?;
    }
    hook.has_served(n3)?;
    let flows = 3 * CONVERSATIONS;
    let packets = flows * QUESTIONS;
    let sent = Counts { flows, packets, bytes: packets * (HEADERS + QUESTION.len() as u64) };
    for node in [n1, n2, n3] {
        let mut expected = before;
        expected += sent;
        ensure!(counts(node, "web")? == expected, "{} says {:?}", node.name(), counts(node, "web"));
    }

    let refused =
        open(outside.client(), Protocol::Udp, SocketAddr::new(targets[0].ip(), PORT + 1))?.ask(b"x");
    ensure!(refused.is_err(), "a service without a backend answers");
    let nobody = stats(n2, "nobody")?;
    ensure!(nobody.backends.is_empty() && nobody.drops["no_backend"].packets > 0, "{nobody:?}");
    let text = n1.ctl(&["service", "stats"])?;
    ensure!(text.contains("web1") && text.contains("no_backend"), "{text}");

    n3.freeze(true)?;
    let said = n1.ctl_says(&["service", "stats"])?;
    ensure!(said.contains("the node n3"), "{said}");
    n3.freeze(false)
}

fn open(from: &Netns, protocol: Protocol, to: SocketAddr) -> Result<Conversation> {
    from.run(|| Conversation::open(protocol, to, PATIENCE))
}

fn stats(node: &Node, service: &str) -> Result<ServiceStats> {
    let [stats] = node.ctl_json::<[ServiceStats; 1]>(&["service", "stats", service])?;
    Ok(stats)
}

fn counts(node: &Node, service: &str) -> Result<Counts> {
    let stats = stats(node, service)?;
    stats.backends.first().map(|backend| backend.counts).context("no backend")
}
