//! Backends that come while clients do.

use anyhow::ensure;
use overlay_harness::load::Newcomers;
use overlay_harness::{Lab, Node};

use super::{Hook, attach_backend, cluster, create_service, lead_to, targets};

const PORT: u16 = 8080;

const COMING: [&str; 6] = ["b", "c", "d", "e", "f", "g"];

/// Whoever is led to one is answered, be it the first.
#[test]
fn a_new_backend_answers_from_the_first_packet_on() {
    Lab::run(Hook::Tc.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let outside = cluster(lab)?;
        create_service(nodes[0], "web", PORT)?;
        let mut backends = vec![attach_backend(lab, nodes[0], "web", "a", "1")?];
        let targets = targets(&nodes, PORT);
        lead_to(&outside, &targets, &["a"])?;
        let newcomers = Newcomers::start(outside.client(), &targets);
        for (name, node) in COMING.into_iter().zip(nodes.into_iter().cycle()) {
            backends.push(attach_backend(lab, node, "web", name, "1")?);
        }
        lead_to(&outside, &targets, &["a", "b", "c", "d", "e", "f", "g"])?;
        let mut attempts = newcomers.stop()?;
        let all = attempts.len();
        attempts.retain(|attempt| attempt.answer.is_err());
        ensure!(attempts.is_empty(), "{} of {all} failed: {attempts:#?}", attempts.len());
        Ok(())
    });
}
