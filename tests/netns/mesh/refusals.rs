//! A client is told at once that nobody serves, and that its connection's backend is gone.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay::model::Protocol;
use overlay_harness::client::Conversation;
use overlay_harness::{Lab, Netns, Node, eventually};

use super::{Hook, PROTOCOLS, TARGET, attach_backend, cluster, create_service, lead_to, targets};
use crate::services::detail;
use crate::steps::SOON;

const PORT: u16 = 8080;

/// More than any answer takes; who waits for longer was not told.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn clients_are_told_what_became_of_backends_in_tc() {
    clients_are_told(Hook::Tc);
}

#[test]
fn clients_are_told_what_became_of_backends_in_xdp() {
    clients_are_told(Hook::Xdp);
}

/// Clients outside, and an endpoint that asks the virtual address.
fn clients_are_told(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service(n1, "web", PORT)?;
        let endpoint = lab.attach(n3, "blue", "client", &[])?;
        let mut ways: Vec<_> = targets(&nodes, PORT)
            .into_iter()
            .map(|(protocol, target)| (outside.client(), protocol, target))
            .collect();
        for vip in detail(n1, "web")?.service.vips {
            let target = SocketAddr::new(vip.address, TARGET);
            ways.extend(PROTOCOLS.map(|protocol| (&endpoint.netns, protocol, target)));
        }
        all_are_refused(&ways)?;

        let first = attach_backend(lab, n1, "web", "a", "1")?;
        lead_to(&outside, &targets(&nodes, PORT), &["a"])?;
        let mut lasting = Vec::new();
        for (from, protocol, target) in &ways {
            let conversation = eventually(&format!("{protocol} from {from} to {target}"), SOON, || {
                let mut conversation = open(from, *protocol, *target)?;
                ensure!(conversation.ask(b"the first question")? == "a");
                Ok(conversation)
            })?;
            lasting.push((*protocol, *target, conversation));
        }
        let _second = attach_backend(lab, n2, "web", "b", "1")?;
        lead_to(&outside, &targets(&nodes, PORT), &["a", "b"])?;
        n1.ctl(&["endpoint", "detach", "blue/a"])?;
        lead_to(&outside, &targets(&nodes, PORT), &["b"])?;
        for (protocol, target, mut conversation) in lasting {
            let answered = conversation.ask(b"one more question");
            if protocol == Protocol::Udp {
                ensure!(answered.with_context(|| format!("UDP to {target}"))? == "b");
            } else {
                let kind = kind(answered);
                ensure!(kind == Some(ErrorKind::ConnectionReset), "{protocol} to {target}: {kind:?}");
            }
        }
        n2.ctl(&["endpoint", "detach", "blue/b"])?;
        all_are_refused(&ways)?;
        drop(first);
        Ok(())
    });
}

fn open(from: &Netns, protocol: Protocol, target: SocketAddr) -> Result<Conversation> {
    from.run(|| Conversation::open(protocol, target, PATIENCE))
}

/// Waits until nobody serves at any of these targets, and clients there are told so.
fn all_are_refused(ways: &[(&Netns, Protocol, SocketAddr)]) -> Result<()> {
    for (from, protocol, target) in ways {
        eventually(&format!("{protocol} from {from} to {target} is refused"), SOON, || {
            let answered =
                open(from, *protocol, *target).and_then(|mut conversation| conversation.ask(b"anyone?"));
            let kind = kind(answered);
            ensure!(kind == Some(ErrorKind::ConnectionRefused), "{kind:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The system's error, if that is what came of it.
fn kind<T>(answered: Result<T>) -> Option<ErrorKind> {
    answered.err()?.root_cause().downcast_ref::<io::Error>().map(io::Error::kind)
}
