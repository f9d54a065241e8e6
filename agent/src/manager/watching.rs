//! How intent is followed: lines of JSON over a connection that stays. One line brings the whole intent, each later one
//! what changed since the last. Both ends are here, and neither knows of sockets.
//!
//! What changed is worked out and written once, however many follow; the whole is written when the first one needs it. A
//! follower that is further behind than what is kept of changes is sent the whole again, so a slow one costs no memory.
//! Followers say what they hold when they begin: who only lost the connection is sent what it missed, or nothing.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, Bytes, BytesMut};
use overlay::intent::{Intent, IntentDelta, Revision, WrongBase};
use overlay::model::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use super::wire::{KEEPALIVE, MAX_ANSWER};

/// How many changes are kept for those who are behind, at most, …
const KEPT_CHANGES: usize = 256;
/// … and of what size in all, in bytes.
const KEPT_BYTES: usize = 4 << 20;

/// The empty line: the manager is there.
const THERE: Bytes = Bytes::from_static(b"\n");

/// A line of the stream.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Whole(Intent),
    Change(IntentDelta),
}

/// [`Line`], of what is not ours to give away.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineOf<'a> {
    Whole(&'a Intent),
    Change(&'a IntentDelta),
}

impl LineOf<'_> {
    fn render(&self) -> Bytes {
        match serde_json::to_vec(self) {
            Ok(mut json) => {
                json.push(b'\n');
                json.into()
            }
            Err(error) => {
                tracing::error!(%error, "the intent cannot be written as JSON");
                Bytes::new()
            }
        }
    }
}

/// The intent at one moment, for all who follow it.
pub(super) struct Moment {
    intent: Arc<Intent>,
    revision: Revision,
    whole: OnceLock<Bytes>,
    /// The changes that led here, each from the revision that the one before it led to.
    changes: VecDeque<Change>,
}

#[derive(Clone)]
struct Change {
    from: Revision,
    line: Bytes,
}

impl Moment {
    fn first(intent: Arc<Intent>) -> Self {
        let revision = Revision::of(&intent);
        Self { intent, revision, whole: OnceLock::new(), changes: VecDeque::new() }
    }

    fn next(&self, intent: Arc<Intent>) -> Self {
        let line = LineOf::Change(&IntentDelta::between(&self.intent, &intent)).render();
        let mut changes = self.changes.clone();
        changes.push_back(Change { from: self.revision, line });
        let mut size: usize = changes.iter().map(|change| change.line.len()).sum();
        while changes.len() > KEPT_CHANGES || size > KEPT_BYTES {
            let Some(forgotten) = changes.pop_front() else { break };
            size -= forgotten.line.len();
        }
        Self { changes, ..Self::first(intent) }
    }

    fn whole(&self) -> &Bytes {
        self.whole.get_or_init(|| LineOf::Whole(&self.intent).render())
    }

    /// The lines that lead here from what somebody holds; the whole intent, if that is not known or too long ago.
    fn lines(&self, held: Option<Revision>) -> Vec<Bytes> {
        if held == Some(self.revision) {
            return Vec::new();
        }
        match self.changes.iter().position(|change| Some(change.from) == held) {
            Some(first) => self.changes.range(first..).map(|change| change.line.clone()).collect(),
            None => vec![self.whole().clone()],
        }
    }
}

/// Keeps what followers are sent as the intent is, until either end of it goes away.
pub(super) fn publish(mut intents: watch::Receiver<Arc<Intent>>) -> watch::Receiver<Arc<Moment>> {
    let first = Moment::first(Arc::clone(&intents.borrow_and_update()));
    let (moments, published) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = moments.closed() => return,
                changed = intents.changed() => if changed.is_err() { return },
            }
            let intent = Arc::clone(&intents.borrow_and_update());
            let last = Arc::clone(&moments.borrow());
            if Revision::of(&intent) != last.revision {
                moments.send_replace(Arc::new(last.next(intent)));
            }
        }
    });
    published
}

/// A follower, as the manager sees it.
pub(super) struct Watcher {
    moments: watch::Receiver<Arc<Moment>>,
    node: NodeId,
    held: Option<Revision>,
}

impl Watcher {
    /// That node, which holds that revision, if any.
    pub(super) fn new(
        mut moments: watch::Receiver<Arc<Moment>>,
        node: NodeId,
        held: Option<Revision>,
    ) -> Self {
        moments.mark_changed();
        Self { moments, node, held }
    }

    /// What it is to be sent next, once there is something new: at first in any case, and after [`KEEPALIVE`] without
    /// news, the word that the manager is there. `None` when nothing is published any more, or when the node is no member
    /// any more: it learns no key that came after it was removed.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match timeout(KEEPALIVE, self.moments.changed()).await {
            Ok(changed) => changed.ok()?,
            Err(_elapsed) => return Some(THERE),
        }
        let moment = Arc::clone(&self.moments.borrow_and_update());
        if !moment.intent.nodes.contains_key(&self.node) {
            return None;
        }
        let lines = moment.lines(self.held.replace(moment.revision));
        Some(match &lines[..] {
            [] => THERE,
            [line] => line.clone(),
            lines => lines.concat().into(),
        })
    }
}

/// Why a stream makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("the intent is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("the intent that it sends makes no sense: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it sends changes to another intent than it sent before: {0}")]
    Gap(#[from] WrongBase),
}

/// The intent that a manager sends, as its follower puts it together.
pub(super) struct Followed {
    /// What the manager has sent so far, or is known to hold.
    intent: Arc<Intent>,
    received: BytesMut,
    /// How many bytes of `received` hold no end of a line.
    searched: usize,
}

impl Followed {
    /// From a stream that begins where `held` is, as the manager was told.
    pub(super) fn new(held: Arc<Intent>) -> Self {
        Self { intent: held, received: BytesMut::new(), searched: 0 }
    }

    /// Takes what came next; the manager's intent, if that ended a line, whether or not it is another one. It may be older
    /// than what the follower holds: the manager may be behind others.
    ///
    /// # Errors
    /// [`Nonsense`]; the stream is of no more use then.
    pub(super) fn receive(&mut self, data: &[u8]) -> Result<Option<Arc<Intent>>, Nonsense> {
        if self.received.len() + data.len() > MAX_ANSWER {
            return Err(Nonsense::TooLarge);
        }
        self.received.extend_from_slice(data);
        let mut heard = false;
        while let Some(end) = self.received[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.received.split_to(self.searched + end);
            self.received.advance(1);
            self.searched = 0;
            if !line.is_empty() {
                match serde_json::from_slice(&line)? {
                    Line::Whole(intent) => self.intent = Arc::new(intent),
                    Line::Change(change) => change.apply_to(Arc::make_mut(&mut self.intent))?,
                }
            }
            heard = true;
        }
        self.searched = self.received.len();
        Ok(heard.then(|| Arc::clone(&self.intent)))
    }
}

#[cfg(test)]
mod tests;
