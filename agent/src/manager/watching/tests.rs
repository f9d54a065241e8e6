use overlay::intent::{Command, State, apply};
use overlay::model::Node;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::manager::tests::{initial, network, node};

/// A manager's state, what it publishes of it, and one node that follows.
struct Manager {
    state: State,
    intents: watch::Sender<Arc<Intent>>,
    moments: watch::Receiver<Arc<Moment>>,
    follower: Node,
}

impl Manager {
    fn new() -> Self {
        let follower = node();
        let mut state = initial();
        apply(&mut state, &Command::PutNode(follower.clone())).unwrap();
        let intents = watch::Sender::new(Arc::new(state.intent.clone()));
        let moments = publish(intents.subscribe());
        Self { state, intents, moments, follower }
    }

    /// Carries a command out, and waits until what it came to is published.
    async fn apply(&mut self, command: &Command) {
        apply(&mut self.state, command).unwrap();
        self.publish().await;
    }

    async fn publish(&mut self) {
        let revision = Revision::of(&self.state.intent);
        self.intents.send_replace(Arc::new(self.state.intent.clone()));
        self.moments.wait_for(|moment| moment.revision == revision).await.unwrap();
    }

    fn watcher(&self, held: Option<Revision>) -> Watcher {
        Watcher::new(self.moments.clone(), self.follower.id, held)
    }

    fn revision(&self) -> Revision {
        Revision::of(&self.state.intent)
    }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Takes what a stream brought, in pieces of up to `piece` bytes.
fn receive(followed: &mut Followed, bytes: &[u8], piece: usize) -> Result<Arc<Intent>, Nonsense> {
    for piece in bytes.chunks(piece) {
        followed.receive(piece)?;
    }
    Ok(Arc::clone(&followed.intent))
}

#[tokio::test]
async fn the_whole_comes_first_and_then_what_changed() {
    let mut manager = Manager::new();
    for number in 0..50 {
        manager.apply(&network(&format!("net{number}"))).await;
    }
    let mut watcher = manager.watcher(None);
    let mut followed = Followed::new(Arc::default());
    let whole = watcher.next().await.unwrap();
    assert_eq!(*receive(&mut followed, &whole, 7).unwrap(), manager.state.intent);

    manager.apply(&network("another")).await;
    let change = watcher.next().await.unwrap();
    assert!(change.len() < whole.len() / 20, "{} of {} bytes", change.len(), whole.len());
    assert_eq!(*receive(&mut followed, &change, 1000).unwrap(), manager.state.intent);
}

#[tokio::test]
async fn what_is_sent_is_written_once_for_all() {
    let mut manager = Manager::new();
    let mut watchers = [manager.watcher(None), manager.watcher(None)];
    for round in 0..2 {
        let [one, other] = &mut watchers;
        let (one, other) = (one.next().await.unwrap(), other.next().await.unwrap());
        assert_eq!(one.as_ptr(), other.as_ptr(), "the same bytes, not equal ones");
        manager.apply(&network(&format!("net{round}"))).await;
    }
}

#[tokio::test]
async fn who_comes_back_is_sent_what_it_missed_or_nothing() {
    let mut manager = Manager::new();
    let held = Arc::new(manager.state.intent.clone());
    for number in 0..3 {
        manager.apply(&network(&format!("net{number}"))).await;
    }
    let missed = manager.watcher(Some(Revision::of(&held))).next().await.unwrap();
    assert_eq!(lines(&missed), 3);
    let mut followed = Followed::new(held);
    assert_eq!(*receive(&mut followed, &missed, 100).unwrap(), manager.state.intent);

    assert_eq!(manager.watcher(Some(manager.revision())).next().await.unwrap(), THERE);
    let unknown = Revision { epoch: 0, version: 2 };
    let whole = manager.watcher(Some(unknown)).next().await.unwrap();
    assert_eq!(*receive(&mut Followed::new(Arc::default()), &whole, 100).unwrap(), manager.state.intent);
}

#[tokio::test]
async fn who_lags_behind_what_is_kept_is_sent_the_whole() {
    let mut manager = Manager::new();
    let mut watcher = manager.watcher(Some(manager.revision()));
    let mut followed = Followed::new(Arc::new(manager.state.intent.clone()));
    watcher.next().await.unwrap();
    for number in 0..=KEPT_CHANGES {
        manager.apply(&network(&format!("net{number}"))).await;
    }
    let sent = watcher.next().await.unwrap();
    assert_eq!(lines(&sent), 1);
    assert_eq!(*receive(&mut followed, &sent, 1000).unwrap(), manager.state.intent);
}

#[tokio::test]
async fn what_is_kept_of_changes_is_bounded() {
    let mut manager = Manager::new();
    let text = "x".repeat(KEPT_BYTES / 4);
    for number in 0..10 {
        let Command::CreateNetwork(mut request) = network(&format!("net{number}")) else { panic!() };
        request.labels.insert("text".to_owned(), text.clone());
        manager.apply(&Command::CreateNetwork(request)).await;
        let kept: usize = manager.moments.borrow().changes.iter().map(|change| change.line.len()).sum();
        assert!(kept <= KEPT_BYTES, "{kept} bytes are kept");
    }
    assert!(!manager.moments.borrow().changes.is_empty());
}

#[tokio::test]
async fn a_node_that_is_removed_hears_nothing_more() {
    let mut manager = Manager::new();
    let mut watcher = manager.watcher(None);
    watcher.next().await.unwrap();
    apply(&mut manager.state, &Command::RemoveNode { id: manager.follower.id, force: true }).unwrap();
    let key = Command::AddGossipKey { id: 1, key: "ab".repeat(32).into(), at: 1 };
    apply(&mut manager.state, &key).unwrap();
    manager.publish().await;
    assert_eq!(watcher.next().await, None);
    assert_eq!(manager.watcher(None).next().await, None);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_an_empty_line() {
    let manager = Manager::new();
    let mut watcher = manager.watcher(None);
    assert_ne!(watcher.next().await.unwrap(), THERE);
    for _ in 0..3 {
        assert_eq!(watcher.next().await.unwrap(), THERE);
    }
}

#[tokio::test]
async fn followers_of_any_pace_end_up_with_the_managers_intent() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut manager = Manager::new();
    let begin = |manager: &Manager| (manager.watcher(None), Followed::new(Arc::default()));
    let mut followers: Vec<_> = (0..5).map(|_| begin(&manager)).collect();
    for number in 0..400 {
        let some = manager.state.intent.networks.keys().nth(rng.random_range(0..20)).copied();
        let command =
            some.map_or_else(|| network(&format!("net{number}")), |id| Command::RemoveNetwork { id });
        manager.apply(&command).await;
        let (watcher, followed) = &mut followers[rng.random_range(0..5)];
        if rng.random_bool(0.1) {
            // It lost the connection.
            *watcher = manager.watcher(Some(Revision::of(&followed.intent)));
        }
        let bytes = watcher.next().await.unwrap();
        let piece = rng.random_range(1..2000);
        assert_eq!(*receive(followed, &bytes, piece).unwrap(), manager.state.intent);
    }
}

#[test]
fn streams_that_make_no_sense_are_told_apart() {
    let follow = |bytes: &[u8]| receive(&mut Followed::new(Arc::default()), bytes, 1000).unwrap_err();
    for bad in ["{}\n", "nonsense\n", "{\"whole\":{}}\n", "{\"change\":{\"from\":\"1\",\"version\":1}}\n"] {
        assert!(matches!(follow(bad.as_bytes()), Nonsense::Malformed(_)), "{bad}");
    }
    let gap = follow(b"{\"change\":{\"from\":\"1.5\",\"version\":6}}\n");
    assert!(matches!(gap, Nonsense::Gap(WrongBase { from: Revision { epoch: 1, version: 5 }, .. })), "{gap}");
    assert!(matches!(follow(&vec![b' '; MAX_ANSWER + 1]), Nonsense::TooLarge));
}
