//! The runtime of the simulation: tokio's, on one thread with a clock that leaps; what blocks is done in place.

use std::io::Cursor;
use std::time::Duration;

use openraft::{AsyncRuntime, EmptyNode, Entry, OptionalSend, TokioRuntime};
use overlay::intent::Command;
use overlay::model::NodeId;

use crate::manager::raft::types::{Answer, Offload};

openraft::declare_raft_types!(
    /// The managers' types, in simulated time.
    pub(super) Simulated:
        D = Command,
        R = Answer,
        NodeId = NodeId,
        Node = EmptyNode,
        Entry = Entry<Simulated>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = InPlace,
);

/// How long a disk takes for what is asked of it.
const DISK: Duration = Duration::from_millis(2);

/// Runs a future to its end, in simulated time.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InPlace;

impl Offload for InPlace {
    async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        tokio::time::sleep(DISK).await;
        Ok(work())
    }
}

type Tokio = TokioRuntime;

impl AsyncRuntime for InPlace {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Tokio as AsyncRuntime>::ThreadLocalRng;
    type OneshotSender<T: OptionalSend> = <Tokio as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: OptionalSend> = <Tokio as AsyncRuntime>::OneshotReceiver<T>;
    type OneshotReceiverError = <Tokio as AsyncRuntime>::OneshotReceiverError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        Tokio::is_panic(error)
    }

    /// The library draws election timeouts alone from it, each from a range of one.
    fn thread_rng() -> Self::ThreadLocalRng {
        Tokio::thread_rng()
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        Tokio::oneshot()
    }
}
