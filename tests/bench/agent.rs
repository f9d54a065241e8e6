//! The agent's own speed: how soon an endpoint is there for all, and what the agent takes while nothing happens.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use overlay_harness::{Attached, Lab, Node, Topology};

use crate::Effort;
use crate::report::{percentile, progress};

const PORT: u16 = 7;
/// After no answer for this long, the question is asked again.
const AGAIN: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn print(effort: &Effort) -> Result<()> {
    let lab = Lab::new(Topology::of(3))?;
    progress("forming a cluster of three");
    lab.form_cluster()?;
    let [one, others @ ..] = lab.nodes::<3>();
    one.ctl(&["network", "create", "bench"])?;
    let peers = others.map(|node| lab.attach(node, "bench", node.name(), &[]));
    let peers = peers.into_iter().collect::<Result<Vec<_>>>()?;
    let (attaches, answers) = echoing(&peers, || attaches(&lab, one, &peers, effort.attaches))?;

    println!(
        "\n{:<56}{:>8}{:>8}",
        format!("{} attaches in a cluster of three, ms", effort.attaches),
        "median",
        "max"
    );
    println!(
        "{:<56}{:>8.1}{:>8.1}",
        "endpoint attach",
        percentile(&attaches, 50),
        percentile(&attaches, 100)
    );
    let title = "from its return to the first answer of every other node";
    println!("{title:<56}{:>8.1}{:>8.1}", percentile(&answers, 50), percentile(&answers, 100));
    print_idle(one, effort)
}

/// Milliseconds: each attach, and then each wait until both peers have answered.
fn attaches(lab: &Lab, node: &Node, peers: &[Attached], count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let netns = lab.namespace("attached")?;
    let (mut attaches, mut answers) = (Vec::new(), Vec::new());
    for number in 1..=count {
        progress(&format!("attach {number} of {count}"));
        let started = Instant::now();
        node.attach(&netns, "bench", "probe", &[])?;
        attaches.push(milliseconds(started));
        let returned = Instant::now();
        netns.run(|| peers.iter().try_for_each(|peer| ask((peer.ip4(), PORT).into())))?;
        answers.push(milliseconds(returned));
        node.ctl(&["endpoint", "detach", "bench/probe"])?;
    }
    progress("");
    Ok((attaches, answers))
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Asks until there is an answer.
fn ask(target: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(AGAIN))?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // An error of an earlier packet is told here; the next one may fare better.
        if socket.send(b"?").is_ok() && socket.recv(&mut [0; 1]).is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("no answer from {target} in {PATIENCE:?}")
}

/// Runs `body` while each of the endpoints answers.
fn echoing<T>(endpoints: &[Attached], body: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    let sockets = endpoints.iter().map(|endpoint| {
        let socket = endpoint.netns.run(|| Ok(UdpSocket::bind((endpoint.ip4(), PORT))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(socket)
    });
    let sockets = sockets.collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((_, from)) = socket.recv_from(&mut [0; 1]) {
                        // Who asked may be gone already.
                        let _ = socket.send_to(b"!", from);
                    }
                }
            });
        }
        let result = body();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn print_idle(node: &Node, effort: &Effort) -> Result<()> {
    progress("watching an idle agent");
    let pid = node.pid()?;
    let before = cpu_time(pid)?;
    std::thread::sleep(effort.idle);
    let used = cpu_time(pid)?.saturating_sub(before);
    let resident = resident_megabytes(pid)?;
    progress("");
    println!("\n{:<56}{:>8}", "overlayd, the manager, at rest", "");
    println!("{:<56}{resident:>8.1}", "resident memory, MB");
    println!("{:<56}{:>8.2}", "CPU, % of one core", used.as_secs_f64() / effort.idle.as_secs_f64() * 100.0);
    Ok(())
}

pub(crate) fn resident_megabytes(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = resident.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}

/// What all threads of a process have used, by the scheduler's count, which is in nanoseconds.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
    }
    ensure!(nanoseconds > 0, "the kernel counts no CPU time");
    Ok(Duration::from_nanos(nanoseconds))
}
