//! Placeholder.
use super::{Command, Intent, IntentError, Reply};
/// Placeholder.
pub fn apply(_intent: &mut Intent, _command: &Command) -> Result<Reply, IntentError> {
    Ok(Reply::Done)
}
