//! Clients go on while backends come and go, agents die, and services change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use overlay::model::Protocol;
use overlay_harness::client::{Sees, ask_often_as};
use overlay_harness::lab::FORMING;
use overlay_harness::load::{Attempt, Load, Newcomers};
use overlay_harness::{Lab, Node, Outside, eventually};

use crate::mesh::grace::{are_whole, have_left};
use crate::mesh::{Hook, attach_backend, cluster, create_service_that, lead_as, targets};
use crate::steps::{SOON, all_list};

const WEB: u16 = 8080;
const OTHER: u16 = 8081;
const ADDED: u16 = 9090;

/// Lasting conversations with each address of each node, by each protocol.
const EACH: usize = 4;

/// Answers to each of them that span what happens at a step.
const ANSWERS: u64 = 20;

/// What the share of failures is printed for.
const SLICE: Duration = Duration::from_millis(250);

#[test]
fn only_who_talks_with_a_removed_backend_notices_in_tc() {
    only_who_talks_with_a_removed_backend_notices(Hook::Tc, Sees::Client);
}

#[test]
fn only_who_talks_with_a_removed_backend_notices_in_xdp() {
    only_who_talks_with_a_removed_backend_notices(Hook::Xdp, Sees::Client);
}

#[test]
fn only_who_talks_with_a_removed_backend_notices_where_clients_are_hidden_in_tc() {
    only_who_talks_with_a_removed_backend_notices(Hook::Tc, Sees::Asked);
}

#[test]
fn only_who_talks_with_a_removed_backend_notices_where_clients_are_hidden_in_xdp() {
    only_who_talks_with_a_removed_backend_notices(Hook::Xdp, Sees::Asked);
}

fn only_who_talks_with_a_removed_backend_notices(hook: Hook, sees: Sees) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service_that(n1, "web", WEB, sees)?;
        create_service_that(n1, "other", OTHER, sees)?;
        // Who talks with a drained backend goes on for as long as the test takes.
        n1.ctl(&["service", "update", "web", "--stop-grace-period", "1h"])?;
        let _a = attach_backend(lab, n1, "web", "a", "1")?;
        let _b = attach_backend(lab, n2, "web", "b", "1")?;
        let _o = attach_backend(lab, n2, "other", "o", "1")?;
        let (web, other) = (targets(&nodes, WEB), targets(&nodes, OTHER));
        lead_as(&outside, sees, &web, &["a", "b"])?;
        lead_as(&outside, sees, &other, &["o"])?;
        let others = Load::start_as(outside.client(), sees, &other, 1)?;
        let load = Load::start_as(outside.client(), sees, &web, EACH)?;
        let newcomers = Newcomers::start_as(outside.client(), sees, &web);

        let _c = attach_backend(lab, n2, "web", "c", "1")?;
        lead_as(&outside, sees, &web, &["a", "b", "c"])?;
        load.goes_on(ANSWERS)?;

        n1.ctl(&["service", "drain", "web.b", "--wait"])?;
        let drained = newcomers.now();
        lead_as(&outside, sees, &web, &["a", "c"])?;
        load.goes_on(ANSWERS)?;
        are_whole(&load.reports(), |_| true, &["a", "b"])?;
        let in_use = newcomers.now();
        n1.ctl(&["service", "drain", "web.b", "--undo", "--wait"])?;
        lead_as(&outside, sees, &web, &["a", "b", "c"])?;

        let removed = newcomers.now();
        n2.ctl(&["endpoint", "detach", "b"])?;
        lead_as(&outside, sees, &web, &["a", "c"])?;
        let known = newcomers.now();
        load.goes_on(ANSWERS)?;

        for node in [n3, n2] {
            node.kill()?;
            // It must be back before it is taken for dead.
            load.goes_on(ANSWERS / 4)?;
            node.start()?;
            node.wait_ready(FORMING)?;
            load.goes_on(ANSWERS)?;
        }

        n1.ctl(&["service", "update", "web", "--publish-add", &format!("{ADDED}:80"), "--label-add", "k=v"])?;
        let added: Vec<_> =
            targets(&nodes, ADDED).into_iter().filter(|(protocol, _)| *protocol == Protocol::Tcp).collect();
        lead_as(&outside, sees, &added, &["a", "c"])?;
        load.goes_on(ANSWERS)?;
        hook.has_served(n3)?;

        let attempts = newcomers.stop()?;
        print_failures(
            &format!("the detach of a backend, in {hook:?}, whose backends see {sees:?}"),
            &attempts,
            removed,
        );
        none_fails(&attempts, |attempt| attempt.until < removed || attempt.at > known)?;
        none_comes_to(&attempts, "b", |attempt| attempt.at > drained && attempt.until < in_use)?;
        let reports = load.stop();
        are_whole(&reports, |report| !report.touches("b"), &["a", "b"])?;
        have_left(&reports, "b")?;

        removed_and_made_again(&outside, sees, n1, &web)?;
        others.goes_on(ANSWERS)?;
        are_whole(&others.stop(), |_| true, &["o"])
    });
}

/// Its backends come back with it; until then nobody is let in.
fn removed_and_made_again(
    outside: &Outside,
    sees: Sees,
    at: &Node,
    web: &[(Protocol, SocketAddr)],
) -> Result<()> {
    at.ctl(&["service", "rm", "web"])?;
    for (protocol, target) in web.iter().filter(|(protocol, _)| *protocol == Protocol::Tcp) {
        eventually("nobody serves a port that nobody publishes", SOON, || {
            ensure!(
                ask_often_as(outside.client(), sees, *protocol, *target, 1).is_err(),
                "{target} is served"
            );
            Ok(())
        })?;
    }
    create_service_that(at, "web", WEB, sees)?;
    lead_as(outside, sees, web, &["a", "c"])?;
    let load = Load::start_as(outside.client(), sees, web, EACH)?;
    load.goes_on(ANSWERS)?;
    are_whole(&load.stop(), |_| true, &["a", "c"])
}

#[test]
fn a_backend_that_is_killed_is_soon_spared_in_tc() {
    a_backend_that_is_killed_is_soon_spared(Hook::Tc, Sees::Client);
}

#[test]
fn a_backend_that_is_killed_is_soon_spared_in_xdp() {
    a_backend_that_is_killed_is_soon_spared(Hook::Xdp, Sees::Client);
}

#[test]
fn a_backend_that_is_killed_is_soon_spared_where_clients_are_hidden_in_tc() {
    a_backend_that_is_killed_is_soon_spared(Hook::Tc, Sees::Asked);
}

#[test]
fn a_backend_that_is_killed_is_soon_spared_where_clients_are_hidden_in_xdp() {
    a_backend_that_is_killed_is_soon_spared(Hook::Xdp, Sees::Asked);
}

/// A backend's container dies without a word; its node sees the namespace go, and tells the others.
fn a_backend_that_is_killed_is_soon_spared(hook: Hook, sees: Sees) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service_that(n1, "web", WEB, sees)?;
        let _a = attach_backend(lab, n1, "web", "a", "1")?;
        let b = attach_backend(lab, n2, "web", "b", "1")?;
        let _c = attach_backend(lab, n2, "web", "c", "1")?;
        let web = targets(&nodes, WEB);
        lead_as(&outside, sees, &web, &["a", "b", "c"])?;
        let load = Load::start_as(outside.client(), sees, &web, EACH)?;
        let newcomers = Newcomers::start_as(outside.client(), sees, &web);
        load.goes_on(ANSWERS)?;
        let killed = newcomers.now();
        b.die()?;
        lead_as(&outside, sees, &web, &["a", "c"])?;
        let known = newcomers.now();
        load.goes_on(ANSWERS)?;
        all_list(&nodes, &["blue/a", "blue/c"])?;
        hook.has_served(n3)?;
        let attempts = newcomers.stop()?;
        print_failures(
            &format!("a backend was killed, in {hook:?}, whose backends see {sees:?}"),
            &attempts,
            killed,
        );
        none_fails(&attempts, |attempt| attempt.until < killed || attempt.at > known)?;
        none_comes_to(&attempts, "b", |attempt| attempt.at > known)?;
        are_whole(&load.stop(), |report| !report.touches("b"), &["a", "b", "c"])
    });
}

#[test]
fn a_node_that_is_cut_off_is_soon_spared_in_tc() {
    a_node_that_is_cut_off_is_soon_spared(Hook::Tc, Sees::Client);
}

#[test]
fn a_node_that_is_cut_off_is_soon_spared_in_xdp() {
    a_node_that_is_cut_off_is_soon_spared(Hook::Xdp, Sees::Client);
}

#[test]
fn a_node_that_is_cut_off_is_soon_spared_where_clients_are_hidden_in_tc() {
    a_node_that_is_cut_off_is_soon_spared(Hook::Tc, Sees::Asked);
}

#[test]
fn a_node_that_is_cut_off_is_soon_spared_where_clients_are_hidden_in_xdp() {
    a_node_that_is_cut_off_is_soon_spared(Hook::Xdp, Sees::Asked);
}

/// A node with a backend vanishes from the network; what it served is served by others once they have noticed.
fn a_node_that_is_cut_off_is_soon_spared(hook: Hook, sees: Sees) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service_that(n1, "web", WEB, sees)?;
        let _a = attach_backend(lab, n1, "web", "a", "1")?;
        let _b = attach_backend(lab, n2, "web", "b", "1")?;
        let web = targets(&[n1, n3], WEB);
        lead_as(&outside, sees, &web, &["a", "b"])?;
        let load = Load::start_as(outside.client(), sees, &web, EACH)?;
        let newcomers = Newcomers::start_as(outside.client(), sees, &web);
        load.goes_on(ANSWERS)?;
        let cut = newcomers.now();
        lab.cut(n2)?;
        lead_as(&outside, sees, &web, &["a"])?;
        let known = newcomers.now();
        load.goes_on(ANSWERS)?;
        let attempts = newcomers.stop()?;
        print_failures(
            &format!("a node with a backend was cut off, in {hook:?}, whose backends see {sees:?}"),
            &attempts,
            cut,
        );
        none_fails(&attempts, |attempt| attempt.until < cut || attempt.at > known)?;
        are_whole(&load.stop(), |report| !report.touches("b"), &["a", "b"])
    });
}

fn none_fails(attempts: &[Attempt], counts: impl Fn(&Attempt) -> bool) -> Result<()> {
    let failed: Vec<_> =
        attempts.iter().filter(|attempt| counts(attempt) && attempt.answer.is_err()).collect();
    ensure!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), attempts.len());
    Ok(())
}

fn none_comes_to(attempts: &[Attempt], server: &str, counts: impl Fn(&Attempt) -> bool) -> Result<()> {
    let counted: Vec<_> = attempts.iter().filter(|attempt| counts(attempt)).collect();
    let came: Vec<_> =
        counted.iter().filter(|attempt| attempt.answer.as_ref().is_ok_and(|from| from == server)).collect();
    ensure!(!counted.is_empty() && came.is_empty(), "{} came to {server}: {came:#?}", came.len());
    Ok(())
}

/// Prints which share of the newcomers failed in each slice of time after something happened.
fn print_failures(what: &str, attempts: &[Attempt], happened: Duration) {
    let mut slices = BTreeMap::<u128, (usize, usize)>::new();
    for attempt in attempts.iter().filter(|attempt| attempt.at >= happened) {
        let (failed, all) =
            slices.entry((attempt.at - happened).as_millis() / SLICE.as_millis()).or_default();
        *all += 1;
        *failed += usize::from(attempt.answer.is_err());
    }
    println!("new connections that failed after {what}:");
    for (slice, (failed, all)) in slices.iter().filter(|(_, (failed, _))| *failed > 0) {
        println!("  after {:5} ms: {failed} of {all}", slice * SLICE.as_millis());
    }
    let (failed, all) =
        slices.values().fold((0, 0), |(failed, all), slice| (failed + slice.0, all + slice.1));
    println!("  in all: {failed} of {all}");
}
