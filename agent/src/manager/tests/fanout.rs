//! One change, and everybody who follows. In an optimized build, `make bench` prints what that takes for a large cluster.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use overlay::intent::{CreateService, Revision};
use overlay::model::{
    Affinity, EndpointMode, Protocol, Publish, PublishMode, Service, ServiceId, SourceIp, Unavailable,
};

use super::super::client::get;
use super::super::wire::WATCH;
use super::*;

const LARGE: bool = !cfg!(debug_assertions);
const FOLLOWERS: usize = if LARGE { 1000 } else { 50 };
const NETWORKS: usize = if LARGE { 1000 } else { 5 };
const SERVICES: u16 = if LARGE { 5000 } else { 5 };
const CHANGES: usize = if LARGE { 20 } else { 2 };
/// Proposals under way at a time, and connections being opened.
const AT_ONCE: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_everybody_who_follows() {
    let manager = Manager::start().await;
    let mut took = propose_all(&manager, (0..NETWORKS).map(|number| network(&format!("net{number}")))).await;
    let home = manager.log.watch().borrow().networks.keys().next().copied().unwrap();
    took.extend(propose_all(&manager, (0..SERVICES).map(|number| service(number, home))).await);
    print("a command of many at once", &mut took);

    let intent = Arc::clone(&manager.log.watch().borrow());
    let held = format!("{WATCH}?held={}", Revision::of(&intent));
    let tls = manager.founded.identity.client_config().unwrap();
    let started = Instant::now();
    let follow = |_| async { get(manager.addr(), &tls, &held).await.unwrap() };
    let mut followers: Vec<Incoming> =
        stream::iter(0..FOLLOWERS).map(follow).buffered(AT_ONCE).collect().await;
    println!(
        "{FOLLOWERS} followers with the newest intent connected in {:.1} s",
        started.elapsed().as_secs_f64()
    );

    let mut times = Vec::new();
    for change in 0..CHANGES {
        let hearing: Vec<_> = followers.into_iter().map(|body| tokio::spawn(until_changed(body))).collect();
        let started = Instant::now();
        manager.log.propose(network(&format!("change{change}"))).await.unwrap();
        followers = Vec::new();
        for heard in hearing {
            followers.push(timeout(Duration::from_secs(60), heard).await.unwrap().unwrap());
        }
        times.push(started.elapsed());
    }
    print("from a proposal until all have heard of it", &mut times);
}

/// Carries commands out, some at a time; what each took.
async fn propose_all(manager: &Manager, commands: impl Iterator<Item = Command>) -> Vec<Duration> {
    let propose = |command| async {
        let started = Instant::now();
        manager.log.propose(command).await.unwrap();
        started.elapsed()
    };
    stream::iter(commands).map(propose).buffer_unordered(AT_ONCE).collect().await
}

/// Reads until a change has come.
async fn until_changed(mut body: Incoming) -> Incoming {
    loop {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        if data.starts_with(b"{\"change\"") {
            return body;
        }
        assert_eq!(data, "\n", "more than the change");
    }
}

fn service(number: u16, home: NetworkId) -> Command {
    let ports = (10_000 + number).to_string().parse().unwrap();
    Command::CreateService(CreateService {
        id: ServiceId::from_bytes(rand::random()),
        name: format!("service{number}").parse().unwrap(),
        networks: vec![home],
        publish: vec![Publish::new(ports, 80, Protocol::Tcp, PublishMode::Ingress).unwrap()],
        endpoint_mode: EndpointMode::Dnsrr,
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Service::STOP_GRACE_PERIOD,
        unavailable: Unavailable::Reject,
        labels: Labels::new(),
    })
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what}: {:.1} ms (median of {}), {:.1} ms (p99)", at(50), times.len(), at(99));
}
