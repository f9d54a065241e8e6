//! Room for connections, shared so that nobody takes it all: where none is left, whoever holds the most loses the oldest
//! of its own. So a flood pushes out itself, and whoever connects once is served.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlay::model::NodeId;
use tokio::sync::oneshot;

/// Where somebody comes from: an IPv4 address, or the /64 that one host may have all of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(addr: IpAddr) -> Self {
        Self(match addr.to_canonical() {
            IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & (u128::MAX << 64)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Who holds a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Somebody who has shown no certificate, yet or at all.
    Stranger(Source),
    /// A node of the cluster.
    Member(NodeId),
}

/// A number of places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    room: usize,
    taken: Arc<Mutex<Taken>>,
}

/// From the oldest to the newest, by ascending number.
#[derive(Debug, Default)]
struct Taken {
    last: u64,
    places: VecDeque<(u64, Holder, oneshot::Sender<()>)>,
}

/// A place that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    taken: Arc<Mutex<Taken>>,
    lost: oneshot::Receiver<()>,
}

impl Places {
    /// So many, at least one.
    pub(crate) fn new(room: usize) -> Self {
        Self { room: room.max(1), taken: Arc::default() }
    }

    /// Takes one; whoever holds the most makes room for it if need be.
    pub(crate) fn take(&self, holder: Holder) -> Place {
        let mut taken = lock(&self.taken);
        if taken.places.len() >= self.room {
            taken.make_room();
        }
        taken.last += 1;
        let (number, (held, lost)) = (taken.last, oneshot::channel());
        taken.places.push_back((number, holder, held));
        Place { number, taken: Arc::clone(&self.taken), lost }
    }
}

impl Taken {
    fn make_room(&mut self) {
        let mut counts: HashMap<Holder, usize> = HashMap::new();
        for (_, holder, _) in &self.places {
            *counts.entry(*holder).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let oldest = self.places.iter().position(|(_, holder, _)| counts.get(holder).copied() == most);
        if let Some(oldest) = oldest {
            self.places.remove(oldest);
        }
    }
}

impl Place {
    /// Once it went to another.
    pub(crate) async fn lost(&mut self) {
        // Nothing is ever sent: the other half goes with the place.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &mut lock(&self.taken).places;
        if let Ok(index) = places.binary_search_by_key(&self.number, |(number, ..)| *number) {
            places.remove(index);
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn from(last: u8) -> Holder {
        Holder::Stranger(IpAddr::from([192, 0, 2, last]).into())
    }

    fn is_lost(place: &mut Place) -> bool {
        place.lost().now_or_never().is_some()
    }

    #[test]
    fn who_holds_the_most_loses_its_oldest() {
        let places = Places::new(4);
        let mut quiet = places.take(from(1));
        let mut flood: Vec<Place> = (0..100).map(|_| places.take(from(2))).collect();
        let mut late = places.take(from(3));
        assert!(!is_lost(&mut quiet) && !is_lost(&mut late));
        let lost: Vec<bool> = flood.iter_mut().map(is_lost).collect();
        assert_eq!(lost.iter().filter(|lost| !**lost).count(), 2);
        assert!(lost.is_sorted_by(|a, b| a >= b), "the newest stay: {lost:?}");
    }

    #[test]
    fn what_is_dropped_is_free_again() {
        let places = Places::new(2);
        let mut first = places.take(from(1));
        for _ in 0..10 {
            drop(places.take(from(1)));
        }
        assert!(!is_lost(&mut first));
        let mut second = places.take(from(1));
        let _third = places.take(from(1));
        assert!(is_lost(&mut first) && !is_lost(&mut second));
        // It is no longer in the list, and takes nobody's place away.
        drop(first);
        assert!(!is_lost(&mut second));
    }

    #[test]
    fn a_host_has_all_of_its_ipv6_prefix() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}
