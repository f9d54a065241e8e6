//! Why intent refuses a command.
use serde::{Deserialize, Serialize};
/// Placeholder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum IntentError {
    /// No network has that name or id.
    #[error("no network is called {reference:?}")]
    NoSuchNetwork {
        /// What was asked for.
        reference: String,
    },
    /// Several networks' ids start so.
    #[error("several networks' ids start with {reference:?}")]
    AmbiguousNetwork {
        /// What was asked for.
        reference: String,
    },
}
