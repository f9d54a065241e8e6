//! What the managers hold: intent, and the secrets that go with it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Intent;

/// The state that [`super::apply`] changes: all that a manager's log, snapshots and backups are about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What every member may know.
    pub intent: Intent,
    /// What never leaves the managers.
    pub secrets: Secrets,
}

impl State {
    /// Of which only the intent is known: to try a command that has nothing to do with secrets.
    pub fn of(intent: Intent) -> Self {
        Self { intent, secrets: Secrets::default() }
    }
}

/// What never leaves the managers. `Debug` shows none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// The CA that signs now; `None` before the cluster begins.
    pub ca: Option<CaKeys>,
    /// The CA that will sign, while the CA is being rotated.
    pub next_ca: Option<CaKeys>,
    /// The secret in the token that makes workers, hexadecimal.
    pub worker_secret: Hidden,
    /// The secret in the token that makes managers, hexadecimal.
    pub manager_secret: Hidden,
}

/// A CA's certificate and private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaKeys {
    /// The certificate, PEM.
    pub cert: String,
    /// The private key, PEM (PKCS #8).
    pub key: Hidden,
}

/// A text that `Debug` does not show.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}
