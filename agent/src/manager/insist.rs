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
    use overlay::intent::ReleaseBlock;
    use overlay::model::{NetworkId, NodeId};
    use tokio::time::timeout;

    use super::*;
    use crate::manager::Local;
    use crate::store::Store;

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        // Of no cluster, so that it refuses everything.
        let log = Arc::new(Local::open(store, ([127, 0, 0, 1], 2377).into()).unwrap());
        let command = Command::ReleaseBlock(ReleaseBlock {
            network: NetworkId::from_bytes([1; 16]),
            node: NodeId::from_bytes([1; 16]),
            first: [10, 0, 0, 1].into(),
        });
        assert!(timeout(AGAIN * 20, insist(log, command)).await.is_ok(), "it asks again and again");
    }
}
