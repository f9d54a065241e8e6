//! One agent from start to end: preflight, what an earlier run left, the event loop, the local API, SIGTERM.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use overlay::config::Config;
use overlay::model::Attachment;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

use crate::eventloop::EventLoop;
use crate::kernel::bpf::{self, DataPath};
use crate::kernel::netlink::Netlink;
use crate::kernel::preflight;
use crate::localapi::LocalApi;
use crate::member::Member;
use crate::reconciler::Reconciler;
use crate::report::advice;
use crate::store::{Key, Store};

/// Requests that wait for the event loop.
const REQUESTS: usize = 64;

/// How long requests under way may take when the agent stops.
const STOPPING: Duration = Duration::from_secs(5);

/// The nice value of the agent's threads.
const NICE: i32 = -10;

/// Has this thread, and those that it starts, go before what runs beside them: an agent that gets no time for seconds, on a
/// machine that its containers keep busy, is taken for dead.
///
/// # Errors
/// It may not (`CAP_SYS_NICE`).
pub fn go_first() -> io::Result<()> {
    // SAFETY: it takes numbers alone; 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs the agent until SIGTERM or SIGINT. The data path stays in place.
///
/// # Errors
/// What keeps it from starting; everything that comes later is retried and shown in `status`.
pub async fn run(config: Config) -> anyhow::Result<()> {
    checked(&config).await?;
    raise_file_limit()?;
    let store = Store::open(&config.state_dir)?;
    bpf::ensure_bpffs(&config.bpf_dir)?;
    let data_path = DataPath::open(&config.bpf_dir).context("cannot open the data path")?;
    let observer = data_path.observer();
    let goes_on = !data_path.links()?.is_empty();
    let loading = async {
        tokio::task::spawn_blocking(|| data_path.load()).await?.context("cannot load the data path")
    };
    let joining =
        async { anyhow::Ok(Member::start(&config, &store, Vec::new(), Arc::clone(&observer)).await?) };
    // Where an earlier run's programs go on, the other nodes need not wait for the kernel to verify these: they would take
    // this one for dead. After a boot, nothing shall lead here before they are loaded.
    let (data_path, member) =
        if goes_on { tokio::try_join!(loading, joining)? } else { (loading.await?, joining.await?) };
    let reconciler = Reconciler::new(config.clone(), Netlink::open()?, data_path, guard_mark(&store)?);

    let attachments: Vec<Attachment> = store.get(Key::Attachments)?.unwrap_or_default();
    let attachments =
        attachments.into_iter().map(|attachment| (attachment.endpoint.id, attachment)).collect();

    let api = LocalApi::bind(&config.socket, config.socket_group.as_deref())?;
    let (requests, queue) = mpsc::channel(REQUESTS);
    let (events, shared) = EventLoop::new(config.clone(), store.clone(), reconciler, member, attachments);
    info!(version = env!("CARGO_PKG_VERSION"), socket = %config.socket.display(), "started");

    let (stop, mut stopped) = watch::channel(false);
    let until = async move { drop(stopped.wait_for(|stop| *stop).await) };
    let (end, ended) = oneshot::channel();
    let events = tokio::spawn(events.run(queue, Netlink::monitor()?, ended));
    let mut api = tokio::spawn(api.serve(Arc::new(config), store, shared, requests, observer, until));
    terminated().await?;
    info!("stopping; the data path stays");
    stop.send_replace(true);
    match tokio::time::timeout(STOPPING, &mut api).await {
        Ok(served) => served.context("the local API panicked")??,
        Err(_) => api.abort(),
    }
    // Last, since the requests under way are answered by the event loop.
    drop(end);
    events.await.context("the event loop panicked")
}

/// Names everything that keeps the agent from starting, a line each.
async fn checked(config: &Config) -> anyhow::Result<()> {
    let mut problems = preflight::check(config).await;
    let Some(last) = problems.pop() else { return Ok(()) };
    for problem in problems {
        crate::report::print(&advice(problem.what, problem.hint));
    }
    Err(advice(last.what, last.hint))
}

/// Lets the agent have as many files open as it is allowed: a manager has a connection of every other node, and the
/// data path holds its links.
fn raise_file_limit() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")
}

async fn terminated() -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// The mark of our own packets: random, so that no firewall's mark is the same, and kept over restarts, since the
/// pinned data path goes on using it. Neither it nor its complement, which is one of ours too, is the 0 of most packets.
fn guard_mark(store: &Store) -> anyhow::Result<u32> {
    if let Some(mark) = store.get(Key::GuardMark)? {
        return Ok(mark);
    }
    let mark = rand::random_range(1..u32::MAX);
    store.put(Key::GuardMark, &mark)?;
    Ok(mark)
}
