//! What can go wrong in `overlayctl`, and what the user can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay::api::{ApiError, ErrorCode};

/// Why a command failed. `Display` is the cause, without a hint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The socket is not there, or nobody listens on it.
    #[error("overlayd is not running: {}", no_agent(.socket, .source))]
    NotRunning { socket: PathBuf, source: io::Error },
    /// The socket may not be used by this user.
    #[error("no permission to use overlayd's socket {}", .socket.display())]
    Forbidden { socket: PathBuf },
    /// The connection could not be made, or broke.
    #[error("cannot talk to overlayd at {}: {source}", .socket.display())]
    Connection { socket: PathBuf, source: io::Error },
    /// No answer in time.
    #[error("overlayd did not answer within {limit:.0?}")]
    Silent { limit: Duration },
    /// The connection ended before the answer did.
    #[error("overlayd's answer ended too early, after {received} bytes")]
    CutOff { received: usize },
    /// The answer is longer than any that the agent gives.
    #[error("overlayd's answer is longer than {limit} bytes")]
    TooLong { limit: u64 },
    /// The answer is not one of this API version.
    #[error("overlayd's answer cannot be understood: {what}")]
    NotUnderstood { what: String },
    /// The agent refused or failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// `status --wait` ran out of time.
    #[error("not ready after {} s, still waiting for {}", .waited.as_secs(), .missing.join("; "))]
    NotReady { waited: Duration, missing: Vec<String> },
    /// Not every node has put a change into effect in time.
    #[error("made, but not confirmed within {} s by {}", .waited.as_secs(), .missing.join("; "))]
    Unconfirmed { waited: Duration, missing: Vec<String> },
    /// Some of several things that a command was to do; each is reported by itself.
    #[error("{} of the arguments failed", .0.len())]
    Some(Vec<Error>),
    /// A file that was named cannot be read or written.
    #[error("{}: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    /// A file holds something else than what it should.
    #[error("{} is no backup: {cause}", .file.display())]
    NoBackup { file: PathBuf, cause: String },
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// What to do about it, if anything can be said.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => {
                "start it with `systemctl start overlayd`; if its socket is elsewhere, name it with --socket or OVERLAY_SOCKET"
            }
            Self::Forbidden { .. } => {
                "run overlayctl as root, for example with `sudo`, or as a member of the group that `socket_group` names in overlayd.toml"
            }
            Self::Connection { .. } | Self::Silent { .. } | Self::CutOff { .. } => {
                "see what overlayd is doing with `journalctl -u overlayd`, then try again"
            }
            Self::TooLong { .. } | Self::NotUnderstood { .. } => {
                "is it overlayd that listens there, and of the same version? compare `overlayctl --version` with `overlayd --version`"
            }
            Self::Api(refusal) => return refusal.hint.clone(),
            Self::NotReady { .. } => {
                "`overlayctl status` shows the node's state, `journalctl -u overlayd` what happened"
            }
            Self::Unconfirmed { .. } => {
                "see on these nodes that overlayd runs, with `overlayctl status`, and that the manager API's port (TCP 2377) is open between all nodes"
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "a backup does not take the place of a file; name another one, or move that one away"
            }
            Self::NoBackup { .. } => "name a file that `overlayctl cluster backup` wrote",
            Self::Some(_) | Self::Output(_) | Self::File { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the same request may succeed a moment later, as while the agent starts.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Connection { .. } | Self::Silent { .. } | Self::CutOff { .. } => {
                true
            }
            Self::Api(refusal) => refusal.code == ErrorCode::Unavailable,
            _ => false,
        }
    }

    /// Whether the reader of the output went away.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn no_agent(socket: &Path, source: &io::Error) -> String {
    let socket = socket.display();
    match source.kind() {
        io::ErrorKind::NotFound => format!("there is no socket {socket}"),
        _ => format!("nothing listens on {socket}"),
    }
}
