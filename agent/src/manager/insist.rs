//! Proposing what nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use overlay::intent::Command;
use tracing::{debug, warn};

use super::{IntentLog, ProposeError};

/// How long after a manager could not take a command it is proposed again.
const AGAIN: Duration = Duration::from_secs(1);

/// Proposes until a manager has taken or refused the command. It must be one that may be carried out twice: a manager
/// whose answer was lost may have done so.
pub async fn insist(log: Arc<dyn IntentLog>, command: Command) {
    loop {
        match log.propose(command.clone()).await {
            Ok(_) => return,
            // The same intent would refuse it again; who wants it looks at intent as it will be then.
            Err(ProposeError::Refused(error)) => return warn!(%error, ?command, "refused"),
            Err(error) => debug!(%error, ?command, "not taken yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use overlay::model::NetworkId;
    use tokio::time::timeout;

    use super::*;
    use crate::manager::tests::Manager;

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let manager = Manager::start().await;
        let command = Command::RemoveNetwork { id: NetworkId::from_bytes([1; 16]) };
        let insisted = insist(manager.log, command);
        assert!(timeout(AGAIN * 20, insisted).await.is_ok(), "it asks again and again");
    }
}
