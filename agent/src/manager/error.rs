//! What can go wrong between a node and its managers, in words for the person at the node.

use std::io;
use std::net::SocketAddr;

use overlay::api::{ApiError, ErrorCode};
use overlay::intent::IntentError;
use overlay::model::NodeId;

use super::{BackupError, Exclusion};
use crate::identity::IdentityError;
use crate::store::StoreError;

/// Why a command did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The intent as it is does not allow it.
    #[error(transparent)]
    Refused(#[from] IntentError),
    /// No manager answered.
    #[error("no manager can be reached: {addr}: {cause}")]
    Unreachable {
        /// The one tried last.
        addr: SocketAddr,
        /// What went wrong with it.
        cause: String,
    },
    /// The managers cannot agree now, or did not in time.
    #[error("{cause}")]
    Unavailable {
        /// Why, and who of them does not answer.
        cause: String,
    },
    /// It would cost the managers their majority.
    #[error("{cause}")]
    Unsafe {
        /// Why.
        cause: String,
    },
    /// The managers do not take this from this node.
    #[error("{cause}")]
    NotAllowed {
        /// Why.
        cause: String,
        /// Who may ask for it, where that is known.
        managers: Option<String>,
    },
    /// The managers do not let this node in.
    #[error("{0}")]
    Excluded(Exclusion),
    /// The manager failed, or its answer makes no sense.
    #[error("{cause}")]
    Internal {
        /// What it said.
        cause: String,
    },
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        let text = error.to_string();
        match error {
            ProposeError::Refused(error) => error.into(),
            ProposeError::Unreachable { addr, .. } => Self::new(ErrorCode::Unavailable, text).hint(format!(
                "see that overlayd runs on the manager and that TCP port {} is open to this node; existing \
                 endpoints go on working meanwhile, and nothing new can be created",
                addr.port()
            )),
            ProposeError::Unavailable { .. } => Self::new(ErrorCode::Unavailable, text).hint(
                "start overlayd on the managers that do not answer, or mend the network between them; existing \
                 endpoints go on working meanwhile, and nothing new can be created",
            ),
            ProposeError::Unsafe { .. } => Self::new(ErrorCode::Conflict, text)
                .hint("bring the other managers back first, or promote another node"),
            ProposeError::NotAllowed { managers: None, .. } => Self::new(ErrorCode::Forbidden, text),
            ProposeError::NotAllowed { managers: Some(managers), .. } => Self::new(ErrorCode::Forbidden, text)
                .hint(format!("run it on a manager: {managers}; or promote this node there")),
            ProposeError::Excluded(excluded) => Self::new(ErrorCode::Conflict, text).hint(excluded.hint()),
            ProposeError::Internal { .. } => Self::new(ErrorCode::Internal, text),
        }
    }
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody answered as a manager does.
    #[error("the manager at {addr} cannot be reached: {cause}")]
    Unreachable {
        /// The address given.
        addr: SocketAddr,
        /// What went wrong.
        cause: String,
    },
    /// Whoever answered is a node, but no manager.
    #[error("the node at {addr} is no manager")]
    NoManager {
        /// The address given.
        addr: SocketAddr,
    },
    /// Whoever answered is not of the cluster that the token names.
    #[error("the node at {addr} is not of the cluster that the token is for")]
    WrongCluster {
        /// The address given.
        addr: SocketAddr,
    },
    /// The cluster does not know the token's secret.
    #[error("the manager at {addr} does not accept the token")]
    WrongSecret {
        /// The address given.
        addr: SocketAddr,
    },
    /// Wrong tokens were shown too often, from here or by everybody.
    #[error("the manager at {addr} has been shown too many wrong tokens")]
    TooManyGuesses {
        /// The address given.
        addr: SocketAddr,
    },
    /// A member has this id already.
    #[error("the cluster has a node {0} already")]
    AlreadyMember(NodeId),
    /// The intent as it is does not allow this node.
    #[error(transparent)]
    Refused(#[from] IntentError),
    /// The manager failed, or its answer makes no sense.
    #[error("the manager at {addr}: {cause}")]
    Failed {
        /// The address given.
        addr: SocketAddr,
        /// What went wrong.
        cause: String,
    },
    /// This node's key or certificate could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl JoinError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { addr, .. } => format!(
                "see that overlayd runs there as a manager and that TCP port {} is open to this node",
                addr.port()
            ),
            Self::NoManager { .. } => {
                "name a manager; on a node of the cluster, `overlayctl node ls` lists them".to_owned()
            }
            Self::WrongCluster { .. } => {
                "the token and the address must be of one cluster; check both against what `overlayctl \
                 cluster init` printed"
                    .to_owned()
            }
            Self::WrongSecret { .. } => {
                "copy the whole token that `overlayctl cluster init` printed".to_owned()
            }
            Self::TooManyGuesses { .. } => "wait for a minute, and copy the whole token".to_owned(),
            Self::AlreadyMember(_) => "try again with a fresh id".to_owned(),
            Self::Refused(error) => return error.hint(),
            Self::Failed { .. } | Self::Identity(_) => return None,
        })
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        let code = match &error {
            JoinError::Unreachable { .. } | JoinError::TooManyGuesses { .. } => ErrorCode::Unavailable,
            JoinError::NoManager { .. } | JoinError::WrongCluster { .. } | JoinError::WrongSecret { .. } => {
                ErrorCode::Invalid
            }
            JoinError::AlreadyMember(_) => ErrorCode::Conflict,
            JoinError::Refused(error) => error.code(),
            JoinError::Failed { .. } | JoinError::Identity(_) => ErrorCode::Internal,
        };
        Self { code, error: error.to_string(), hint: error.hint() }
    }
}

/// Why a log or server could not start, or a cluster not be made.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// What is stored cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate or key does not serve.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The port is taken, or the address is not this node's.
    #[error("the manager API cannot listen on TCP {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// This node is of a cluster already.
    #[error("this node is a member of a cluster already, as {0}")]
    AlreadyMember(NodeId),
    /// A backup that cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A worker that knows no manager.
    #[error("no manager's address is known")]
    NoManager,
    /// The first command was refused.
    #[error(transparent)]
    Refused(#[from] IntentError),
}

impl ManagerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store(error) => error.hint(),
            Self::Listen { .. } => {
                "another program may have the port: stop it, or set api_port to a free one"
            }
            Self::AlreadyMember(_) => "give it a fresh state_dir to make it a member of another one",
            Self::NoManager => "let this node join the cluster anew",
            Self::Backup(error) => error.hint(),
            Self::Refused(error) => return error.hint(),
            Self::Identity(_) => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<ManagerError> for ApiError {
    fn from(error: ManagerError) -> Self {
        let code = match &error {
            ManagerError::AlreadyMember(_) => ErrorCode::Conflict,
            ManagerError::Backup(_) => ErrorCode::Invalid,
            ManagerError::Refused(error) => error.code(),
            _ => ErrorCode::Internal,
        };
        Self { code, error: error.to_string(), hint: error.hint() }
    }
}
