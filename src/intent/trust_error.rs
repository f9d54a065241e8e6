//! Why intent refuses a command about certificates, keys or the cluster's beginning.

use serde::{Deserialize, Serialize};

use crate::api::ErrorCode;

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum TrustError {
    /// A second new gossip key before the first has taken over.
    #[error("the gossip key is being rotated already")]
    KeyRotationUnderWay,
    /// No gossip key has that id.
    #[error("no gossip key has the id {id}")]
    NoSuchGossipKey { id: u8 },
    /// The gossip key that seals cannot go.
    #[error("the gossip key {id} is in use")]
    GossipKeyInUse { id: u8 },
    /// A second new CA before the first has taken over.
    #[error("the cluster's CA is being rotated already")]
    CaRotationUnderWay,
    /// A certificate that is no CA's of this cluster, or not the one that the step is about.
    #[error("this is not the certificate of a CA that the cluster can do this with now")]
    NotThatCa,
    /// The old CA's certificates are in use.
    #[error("the old CA signed the certificates of nodes that have not renewed them yet: {}", hostnames.join(", "))]
    CaStillNeeded { hostnames: Vec<String> },
    /// A lifetime of certificates that no node could renew in time.
    #[error("certificates that are valid for {seconds} s: the shortest is {shortest} s")]
    LifetimeTooShort { seconds: u32, shortest: u32 },
    /// A beginning that is not newer than the cluster.
    #[error("epoch {epoch} is not newer than the cluster's, which is {current}")]
    StaleEpoch { epoch: u64, current: u64 },
    /// A backup of something that is no cluster.
    #[error("the backup holds no cluster")]
    EmptyBackup,
}

impl TrustError {
    /// What kind it is, for programs.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchGossipKey { .. } => ErrorCode::NotFound,
            Self::LifetimeTooShort { .. } | Self::EmptyBackup => ErrorCode::Invalid,
            _ => ErrorCode::Conflict,
        }
    }

    /// What to do about it, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::KeyRotationUnderWay => "it ends by itself within a minute",
            Self::CaRotationUnderWay => "`overlayctl cluster ca rotate` shows which nodes it waits for",
            Self::CaStillNeeded { .. } => {
                "bring these nodes back, or remove them with `overlayctl node rm`; the rest happens by itself"
            }
            Self::StaleEpoch { .. } => "set this host's clock, and try again",
            Self::EmptyBackup => "give a file that `overlayctl cluster backup` wrote",
            Self::NoSuchGossipKey { .. }
            | Self::GossipKeyInUse { .. }
            | Self::NotThatCa
            | Self::LifetimeTooShort { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
