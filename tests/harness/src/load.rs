//! Clients that go on while a test breaks something: conversations that last, and newcomers. They tell which server
//! answered when, and what failed.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use overlay::model::Protocol;

use crate::client::{Conversation, Sees, question};
use crate::netns::Netns;
use crate::traffic::PATIENCE;
use crate::wait::eventually;

/// What a lasting conversation waits for between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(10);

/// Questions of a lasting conversation, in bytes: over TCP more than a packet, over UDP at most one.
const MOST_TCP: usize = 6000;
const MOST_UDP: usize = 1200;

/// How long a newcomer waits for each step. TCP repeats a lost SYN after a second (RFC 6298): such a one has failed.
const NEWCOMER: Duration = Duration::from_millis(900);

/// How many newcomers there are at once, and how far apart each of these starts another.
const NEWCOMERS: usize = 8;
const NEWCOMER_PAUSE: Duration = Duration::from_millis(25);

/// Conversations that last.
pub struct Load {
    done: Arc<AtomicBool>,
    talks: Vec<Talk>,
}

struct Talk {
    answered: Arc<AtomicU64>,
    report: Arc<Mutex<Report>>,
    thread: JoinHandle<()>,
}

/// What became of one of them.
#[derive(Debug, Clone)]
pub struct Report {
    /// Over what.
    pub protocol: Protocol,
    /// Where it went.
    pub target: SocketAddr,
    /// Who answered, one after the other.
    pub servers: Vec<String>,
    /// Questions without an answer, and what else went wrong. TCP ends with the first.
    pub failures: Vec<String>,
}

impl Report {
    /// Whether this server ever answered.
    pub fn touches(&self, server: &str) -> bool {
        self.servers.iter().any(|other| other == server)
    }

    /// Whether it was with one server, and nothing was lost.
    pub fn is_whole(&self) -> bool {
        self.servers.len() == 1 && self.failures.is_empty()
    }
}

impl Load {
    /// Starts `each` conversations with every target, and waits for their first answers. Nobody else there comes from their
    /// ports from now on: a backend that was asked at two nodes from one port could not tell which of them to answer.
    ///
    /// # Errors
    /// One is never answered.
    pub fn start(from: &Netns, targets: &[(Protocol, SocketAddr)], each: usize) -> Result<Self> {
        Self::start_as(from, Sees::Client, targets, each)
    }

    /// The same, but the servers must see that.
    ///
    /// # Errors
    /// As there.
    pub fn start_as(
        from: &Netns,
        sees: Sees,
        targets: &[(Protocol, SocketAddr)],
        each: usize,
    ) -> Result<Self> {
        let mut load = Self { done: Arc::default(), talks: Vec::new() };
        for (number, (protocol, target)) in
            targets.iter().flat_map(|target| std::iter::repeat_n(*target, each)).enumerate()
        {
            let report = Report { protocol, target, servers: Vec::new(), failures: Vec::new() };
            let (answered, report) = (Arc::<AtomicU64>::default(), Arc::new(Mutex::new(report)));
            let (done, count, seen) = (Arc::clone(&load.done), Arc::clone(&answered), Arc::clone(&report));
            let conversation = from.run(|| Conversation::open(protocol, target, PATIENCE));
            let conversation = conversation.with_context(|| format!("{protocol} to {target}"))?.that(sees);
            reserve(from, conversation.port())?;
            let thread = std::thread::spawn(move || talk(conversation, number, &done, &count, &seen));
            load.talks.push(Talk { answered, report, thread });
        }
        load.goes_on(1)?;
        let reports = load.reports();
        let failed: Vec<_> = reports.iter().filter(|report| !report.is_whole()).collect();
        ensure!(failed.is_empty(), "{failed:#?}");
        Ok(load)
    }

    /// Waits until each conversation that has not broken has had that many answers more.
    ///
    /// # Errors
    /// One stands still.
    pub fn goes_on(&self, answers: u64) -> Result<()> {
        let goals: Vec<_> =
            self.talks.iter().map(|talk| talk.answered.load(Ordering::Relaxed) + answers).collect();
        for (talk, goal) in self.talks.iter().zip(goals) {
            eventually("more answers", PATIENCE * 2, || {
                let enough = talk.answered.load(Ordering::Relaxed) >= goal;
                ensure!(enough || talk.thread.is_finished(), "{:?}", talk.report());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// How they are so far.
    pub fn reports(&self) -> Vec<Report> {
        self.talks.iter().map(Talk::report).collect()
    }

    /// Ends them.
    pub fn stop(self) -> Vec<Report> {
        self.done.store(true, Ordering::Relaxed);
        self.talks
            .into_iter()
            .map(|talk| {
                let report = Arc::clone(&talk.report);
                talk.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                report.lock().expect("who holds it does not panic").clone()
            })
            .collect()
    }
}

/// Keeps a port from those who do not ask for it by its number.
fn reserve(netns: &Netns, port: u16) -> Result<()> {
    const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
    let ports = netns.output(Command::new("sysctl").args(["-n", RESERVED]))?;
    let ports = ports.split_whitespace().map(str::to_owned).chain([port.to_string()]);
    netns.sysctl(RESERVED, &ports.collect::<Vec<_>>().join(","))
}

impl Talk {
    fn report(&self) -> Report {
        self.report.lock().expect("who holds it does not panic").clone()
    }
}

fn talk(
    mut conversation: Conversation,
    number: usize,
    done: &AtomicBool,
    answered: &AtomicU64,
    report: &Mutex<Report>,
) {
    let protocol = report.lock().expect("who holds it does not panic").protocol;
    let most = if protocol == Protocol::Tcp { MOST_TCP } else { MOST_UDP };
    for round in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let answer = conversation.ask(&question(number * 1_000_000 + round, most));
        let mut report = report.lock().expect("who holds it does not panic");
        match answer {
            Ok(server) => {
                if report.servers.last() != Some(&server) {
                    report.servers.push(server);
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                report.failures.push(format!("question {round}: {error:#}"));
                if protocol == Protocol::Tcp {
                    return;
                }
            }
        }
        drop(report);
        std::thread::sleep(PAUSE);
    }
}

/// Clients that come one after the other, ask one question and go.
pub struct Newcomers {
    done: Arc<AtomicBool>,
    began: Instant,
    threads: Vec<JoinHandle<Result<Vec<Attempt>>>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it began, since the first one did.
    pub at: Duration,
    /// When it ended.
    pub until: Duration,
    /// Where it went.
    pub target: SocketAddr,
    /// Over what.
    pub protocol: Protocol,
    /// Who answered, or why nobody did.
    pub answer: Result<String, String>,
}

impl Newcomers {
    /// Sends them to these targets in turn.
    pub fn start(from: &Netns, targets: &[(Protocol, SocketAddr)]) -> Self {
        Self::start_as(from, Sees::Client, targets)
    }

    /// The same, but the servers must see that.
    pub fn start_as(from: &Netns, sees: Sees, targets: &[(Protocol, SocketAddr)]) -> Self {
        let (done, began) = (Arc::<AtomicBool>::default(), Instant::now());
        let threads = (0..NEWCOMERS).map(|first| {
            let (done, targets) = (Arc::clone(&done), targets.to_vec());
            from.spawn(move || Ok(come(sees, &targets, first, began, &done)))
        });
        Self { threads: threads.collect(), done, began }
    }

    /// The time, as [`Attempt::at`] tells it.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets no more come, and hands back all that came, in order.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn stop(self) -> Result<Vec<Attempt>> {
        self.done.store(true, Ordering::Relaxed);
        let mut attempts = Vec::new();
        for thread in self.threads {
            attempts.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        attempts.sort_by_key(|attempt| attempt.at);
        Ok(attempts)
    }
}

fn come(
    sees: Sees,
    targets: &[(Protocol, SocketAddr)],
    first: usize,
    began: Instant,
    done: &AtomicBool,
) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for (number, (protocol, target)) in targets.iter().cycle().copied().enumerate().skip(first) {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let at = began.elapsed();
        let answer = Conversation::open(protocol, target, NEWCOMER)
            .and_then(|conversation| conversation.that(sees).ask(&question(number, MOST_UDP)))
            .map_err(|error| format!("{error:#}"));
        attempts.push(Attempt { at, until: began.elapsed(), target, protocol, answer });
        std::thread::sleep(NEWCOMER_PAUSE);
    }
    attempts
}
