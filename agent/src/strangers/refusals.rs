//! What strangers cost: how often one may guess a token, and how often the log tells of what was refused. Both remember a
//! bounded number of sources for a minute, and none beyond.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use rustls::CertificateError;

use super::places::Source;

/// How long a source is remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// How many sources are.
const SOURCES: usize = 1024;
/// How many wrong secrets a source may show in that time,
const GUESSES: u32 = 5;
/// and all sources together.
const ALL_GUESSES: u32 = 200;

/// Why somebody was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// What it speaks is no TLS 1.3.
    Handshake,
    /// Its certificate is not the cluster's.
    Certificate,
    /// Its certificate has ended, or not begun.
    Expired,
    /// It was removed from the cluster.
    Revoked,
    /// It takes its time.
    Slow,
    /// It has more connections open than there is room for.
    Crowd,
    /// What it sends is too large,
    Size,
    /// or makes no sense.
    Malformed,
    /// No certificate was shown.
    Stranger,
    /// The certificate's node is no member.
    NoMember,
    /// It is no manager's.
    NoManager,
    /// It may not propose this.
    Command,
    /// It may not join.
    Join,
    /// It has guessed often enough.
    Guesses,
}

impl Kind {
    /// Of a handshake that failed so.
    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::Slow;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(flaw)) => match flaw {
                CertificateError::Revoked => Self::Revoked,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::Expired,
                _ => Self::Certificate,
            },
            _ => Self::Handshake,
        }
    }

    /// Of an answer with that status which no other kind is told of.
    pub(crate) fn of_answer(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::REQUEST_TIMEOUT => Some(Self::Slow),
            StatusCode::PAYLOAD_TOO_LARGE => Some(Self::Size),
            StatusCode::BAD_REQUEST => Some(Self::Malformed),
            _ => None,
        }
    }
}

/// What was refused of late.
pub(crate) struct Refusals {
    /// What they came to.
    at: &'static str,
    told: Mutex<Recent<(Source, Kind)>>,
    guesses: Mutex<Recent<Source>>,
    all_guesses: Mutex<Recent<()>>,
}

impl Refusals {
    /// Of those who come to that.
    pub(crate) fn new(at: &'static str) -> Self {
        Self { at, told: Mutex::default(), guesses: Mutex::default(), all_guesses: Mutex::default() }
    }

    /// Has the log tell of this, if it has not lately.
    pub(crate) fn log(&self, kind: Kind, from: IpAddr, cause: &str) {
        if self.tell(kind, from, Instant::now()) {
            tracing::warn!(?kind, %from, at = self.at, cause, "refused");
        }
    }

    /// Whether the log shall tell of this: once a minute for each kind and source.
    fn tell(&self, kind: Kind, from: IpAddr, now: Instant) -> bool {
        lock(&self.told).count((from.into(), kind), now) == Some(1)
    }

    /// Whether the source, or all together, have guessed often enough for now.
    pub(crate) fn guesses_no_more(&self, from: IpAddr, now: Instant) -> bool {
        lock(&self.guesses).counted(&from.into(), now) >= GUESSES
            || lock(&self.all_guesses).counted(&(), now) >= ALL_GUESSES
    }

    /// Whether the source is told if the secret that it shows is right: not once it has guessed often enough, with however
    /// many connections at once. A wrong one is remembered.
    pub(crate) fn guesses(&self, from: IpAddr, right: bool, now: Instant) -> bool {
        let (mut own, mut all) = (lock(&self.guesses), lock(&self.all_guesses));
        if own.counted(&from.into(), now) >= GUESSES || all.counted(&(), now) >= ALL_GUESSES {
            return false;
        }
        if !right {
            own.count(from.into(), now);
            all.count((), now);
        }
        true
    }
}

/// Counts by key, each for [`WINDOW`] from its first.
struct Recent<K>(HashMap<K, (Instant, u32)>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Recent<K> {
    /// Counts one more, and returns how many there are; `None` where there is no room for another key.
    fn count(&mut self, key: K, now: Instant) -> Option<u32> {
        if self.0.len() >= SOURCES && !self.0.contains_key(&key) {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if self.0.len() >= SOURCES {
                return None;
            }
        }
        let (since, count) = self.0.entry(key).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        Some(*count)
    }

    fn counted(&self, key: &K, now: Instant) -> u32 {
        let recent = self.0.get(key).filter(|(since, _)| now.duration_since(*since) < WINDOW);
        recent.map_or(0, |(_, count)| *count)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_source_guesses_a_few_times_a_minute() {
        let (refusals, start) = (Refusals::new("a test"), Instant::now());
        for _ in 0..GUESSES {
            assert!(!refusals.guesses_no_more(v4(1), start));
            refusals.guesses(v4(1), false, start);
        }
        assert!(!refusals.guesses(v4(1), true, start), "the right one is told of no more, either");
        assert!(refusals.guesses(v4(2), true, start));
        assert!(refusals.guesses_no_more(v4(1), start));
        assert!(refusals.guesses_no_more("::ffff:192.0.2.1".parse().unwrap(), start));
        assert!(!refusals.guesses_no_more(v4(2), start));
        assert!(!refusals.guesses_no_more(v4(1), start + WINDOW));
    }

    #[test]
    fn a_host_has_all_of_its_ipv6_prefix() {
        let (refusals, now) = (Refusals::new("a test"), Instant::now());
        for n in 0..GUESSES {
            refusals.guesses(format!("2001:db8::{n}").parse().unwrap(), false, now);
        }
        assert!(refusals.guesses_no_more("2001:db8::ffff".parse().unwrap(), now));
        assert!(!refusals.guesses_no_more("2001:db8:0:1::".parse().unwrap(), now));
    }

    #[test]
    fn many_sources_guess_together_and_take_no_memory() {
        let (refusals, now) = (Refusals::new("a test"), Instant::now());
        for n in 0..100_000_u32 {
            refusals.guesses(IpAddr::from(n.to_be_bytes()), false, now);
            refusals.tell(Kind::Join, IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(refusals.guesses_no_more(v4(1), now));
        assert_eq!(lock(&refusals.guesses).0.len(), ALL_GUESSES as usize);
        assert_eq!(lock(&refusals.told).0.len(), SOURCES);
        assert!(!refusals.guesses_no_more(v4(1), now + WINDOW));
        assert!(refusals.tell(Kind::Join, v4(1), now + WINDOW));
    }

    #[test]
    fn each_kind_is_told_once_a_minute() {
        let (refusals, now) = (Refusals::new("a test"), Instant::now());
        assert!(refusals.tell(Kind::Join, v4(1), now));
        assert!(!refusals.tell(Kind::Join, v4(1), now));
        assert!(refusals.tell(Kind::Stranger, v4(1), now));
        assert!(refusals.tell(Kind::Join, v4(2), now));
        assert!(refusals.tell(Kind::Join, v4(1), now + WINDOW));
    }
}
