//! Network namespaces other than the agent's own: finding them, and opening sockets in them.
//!
//! A thread enters a namespace, never the agent: each visit is a thread of its own that ends with it, so no
//! thread of the runtime can be left in the wrong one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, setns};
use overlay::api::{ApiError, ErrorCode};
use overlay::model::{NetnsId, NetnsRef};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Where `ip netns` keeps the namespaces that have names.
const NAMED: &str = "/run/netns";

/// The calling thread's namespace. All of the agent's threads share one.
const OWN: &str = "/proc/thread-self/ns/net";

/// What a user may call a namespace: digits are a process's ID, what contains a `/` is a path, anything else is
/// a name that `ip netns` knows.
///
/// # Errors
/// There is nothing there, it is no network namespace, or it is the agent's own.
pub fn resolve(reference: &str) -> Result<NetnsRef, ApiError> {
    let (path, what, hint) = locate(reference)?;
    let file = open_path(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            ApiError::new(ErrorCode::NotFound, format!("there is no {what}")).hint(hint)
        }
        _ => ApiError::new(ErrorCode::Invalid, format!("{}: {error}", path.display())).hint(hint),
    })?;
    if !is_netns(&file) {
        let error = format!("{} is not a network namespace", path.display());
        return Err(ApiError::new(ErrorCode::Invalid, error).hint(hint));
    }
    let unreadable = |error| ApiError::new(ErrorCode::Internal, format!("{}: {error}", path.display()));
    let id = id_of(&file.metadata().map_err(unreadable)?);
    if id == id_of(&fs::metadata(OWN).map_err(unreadable)?) {
        let error = format!("{} is the host's own network namespace", path.display());
        return Err(ApiError::new(ErrorCode::Invalid, error)
            .hint("give the namespace of a container; one that shares the host's network has none"));
    }
    Ok(NetnsRef { path, id })
}

/// The path that a reference stands for, what to call it, and what to do if there is nothing there.
fn locate(reference: &str) -> Result<(PathBuf, String, &'static str), ApiError> {
    if reference.is_empty() {
        return Err(ApiError::new(ErrorCode::Invalid, "the network namespace has no name")
            .hint("give a name of `ip netns list`, a path or a process's ID"));
    }
    if reference.contains('/') {
        let hint = "a path to a network namespace looks like /run/netns/NAME or /proc/PID/ns/net";
        return Ok((reference.into(), reference.to_owned(), hint));
    }
    if reference.bytes().all(|byte| byte.is_ascii_digit()) {
        let hint = "`docker inspect -f '{{.State.Pid}}' CONTAINER` gives a running container's process";
        return Ok((format!("/proc/{reference}/ns/net").into(), format!("process {reference}"), hint));
    }
    let hint = "`ip netns list` shows the names there are; `ip netns add NAME` makes one";
    Ok((Path::new(NAMED).join(reference), format!("network namespace named {reference}"), hint))
}

/// Whether the path still leads to the same namespace.
pub fn leads_to(netns: &NetnsRef) -> bool {
    fs::metadata(&netns.path).is_ok_and(|metadata| id_of(&metadata) == netns.id)
}

/// Runs `work` in a namespace, on a thread of its own and within the caller's runtime. A socket stays in the
/// namespace that it was made in, so `work` can hand one back.
///
/// # Errors
/// The namespace is gone, it cannot be entered, or `work` failed.
pub async fn inside<T, F>(netns: &NetnsRef, work: F) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> anyhow::Result<T> + Send + 'static,
{
    let target = open(netns)?;
    let path = netns.path.clone();
    let runtime = Handle::current();
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("netns".into()).spawn(move || {
        let _context = runtime.enter();
        let result = setns(&target, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace {}", path.display()))
            .and_then(|()| work());
        // Nobody waits for it any more if the caller was cancelled.
        sender.send(result).ok();
    })?;
    receiver.await.context("the thread in the network namespace panicked")?
}

/// Opens a namespace, after a check that it is still the one that was meant.
///
/// # Errors
/// It is gone.
pub(super) fn open(netns: &NetnsRef) -> anyhow::Result<OwnedFd> {
    let gone = || format!("the network namespace that {} led to is gone", netns.path.display());
    let file = open_path(&netns.path).with_context(gone)?;
    ensure!(id_of(&file.metadata()?) == netns.id, gone());
    Ok(file.into())
}

/// Without waiting: the path comes from a user, and may be a FIFO.
fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn is_netns(file: &File) -> bool {
    // SAFETY: the descriptor is open, and NS_GET_NSTYPE (ioctl_nsfs(2)) takes no argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

fn id_of(metadata: &fs::Metadata) -> NetnsId {
    NetnsId { dev: metadata.dev(), ino: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kernel::netlink::Netlink;
    use crate::kernel::testing::{Netns, in_own_netns, ip};

    #[test]
    fn a_path_and_a_process_lead_to_a_namespace() {
        in_own_netns(async || {
            let netns = Netns::new();
            let path = netns.reference().path;
            assert_eq!(resolve(path.to_str().unwrap()), Ok(netns.reference()));
            assert!(leads_to(&netns.reference()));
            // The test's own process is in another namespace than the test.
            let process = std::process::id();
            let found = resolve(&process.to_string()).unwrap();
            assert_eq!(found.path, PathBuf::from(format!("/proc/{process}/ns/net")));
            assert_ne!(found.id, netns.reference().id);
        });
    }

    /// A namespace that `ip netns` made.
    struct Named(String);

    impl Named {
        fn new() -> Self {
            let named = Self(format!("ovl-test-{}", std::process::id()));
            ip(&format!("netns add {}", named.0));
            named
        }
    }

    impl Drop for Named {
        fn drop(&mut self) {
            ip(&format!("netns delete {}", self.0));
        }
    }

    #[test]
    fn a_name_leads_to_what_ip_netns_made() {
        in_own_netns(async || {
            let named = Named::new();
            let found = resolve(&named.0).unwrap();
            assert_eq!(found.path, Path::new(NAMED).join(&named.0));
            assert_eq!(Netlink::interfaces_in(&found).await.unwrap(), BTreeSet::from(["lo".to_owned()]));
            drop(named);
            assert!(!leads_to(&found));
        });
    }

    #[test]
    fn what_is_no_namespace_is_refused_with_a_hint() {
        in_own_netns(async || {
            for (reference, code, error) in [
                ("", ErrorCode::Invalid, "the network namespace has no name"),
                ("no-such-name", ErrorCode::NotFound, "there is no network namespace named no-such-name"),
                ("4194305", ErrorCode::NotFound, "there is no process 4194305"),
                ("/no/such/path", ErrorCode::NotFound, "there is no /no/such/path"),
                ("/proc/self/ns/mnt", ErrorCode::Invalid, "/proc/self/ns/mnt is not a network namespace"),
                ("/dev/null", ErrorCode::Invalid, "/dev/null is not a network namespace"),
                (OWN, ErrorCode::Invalid, "/proc/thread-self/ns/net is the host's own network namespace"),
            ] {
                let refusal = resolve(reference).unwrap_err();
                assert_eq!((refusal.code, refusal.error.as_str()), (code, error));
                assert!(refusal.hint.is_some(), "{reference:?}");
            }
        });
    }

    #[test]
    fn a_namespace_that_is_gone_is_called_so() {
        in_own_netns(async || {
            let netns = Netns::new();
            let reference = netns.reference();
            assert_eq!(Netlink::interfaces_in(&reference).await.unwrap(), BTreeSet::from(["lo".to_owned()]));
            drop(netns);
            assert!(!leads_to(&reference));
            let error = Netlink::interfaces_in(&reference).await.unwrap_err();
            assert!(format!("{error:#}").contains("is gone"), "{error:#}");
        });
    }

    #[test]
    fn a_path_that_leads_elsewhere_by_now_is_gone_as_well() {
        in_own_netns(async || {
            let (one, other) = (Netns::new().reference(), Netns::new());
            let stale = NetnsRef { path: other.reference().path, ..one };
            assert!(!leads_to(&stale));
            assert!(inside(&stale, || Ok(())).await.is_err());
        });
    }
}
