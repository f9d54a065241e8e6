//! Sealed datagrams: AES-256-GCM under a key of each sender and boot, made of one of the cluster's [`Keys`].
//!
//! | bytes | field |
//! |---|---|
//! | 0 | format version |
//! | 1 | number of the cluster's key |
//! | 2..18 | sender |
//! | 18..26 | the sender's boot generation, big endian |
//! | 26..34 | counter, big endian, never used twice in a boot, whatever the key |
//! | 34.. | ciphertext and its 16-byte tag |
//!
//! The header is authenticated with the payload. A sender's key is HKDF-SHA256(cluster key, "overlay gossip" ||
//! sender || boot), so no two senders and no two boots share a nonce. A sender counts on when the cluster's key changes, so
//! nonces stay unique under a key that comes back.
//!
//! What was taken once is taken no second time: for each of the cluster's keys there is a replay window of each sender,
//! which stays for as long as the key is held; what is sealed with a key that was dropped does not open at all. A member can
//! seal in another's name, with any boot and any counter, and have what that one seals itself refused. That goes with the
//! key, and does not come again once that member knows no key. Windows are memory: an agent that restarts has none, and may
//! take once more what was sealed with a key that is still held, as may one to whom a backup brings a dropped key back.
//!
//! The seal proves that the sender is a member of the cluster; which member is its word alone, for every member can
//! derive every key. So facts are signed besides (`vouch`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use overlay::model::NodeId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use super::keys::Keys;
use super::replay::Window;

/// The largest datagram, in bytes: it passes an underlay with an MTU of 1,400.
pub(super) const MAX_DATAGRAM: usize = 1350;
/// The largest payload of a datagram, in bytes.
pub(super) const MAX_PAYLOAD: usize = MAX_DATAGRAM - HEADER - TAG;

/// So many nodes may be heard under one key besides those of the intent: they have just joined, or were removed.
const MOST_STRANGERS: usize = 1024;
const VERSION: u8 = 1;
const HEADER: usize = 34;
const TAG: usize = 16;

/// Why a datagram was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Refusal {
    #[error("longer than {MAX_DATAGRAM} bytes")]
    Oversized,
    #[error("shorter than a header and a tag")]
    Truncated,
    #[error("of another format version")]
    Version,
    #[error("sealed with a cluster key that this node does not hold")]
    UnknownKey,
    #[error("sealed with a different key, or altered")]
    Forged,
    #[error("of an older boot of its sender")]
    Stale,
    #[error("seen before, or too old to tell")]
    Replayed,
    #[error("of a node that the intent does not know, one of too many")]
    Stranger,
}

/// Seals this node's datagrams.
pub(super) struct Sealer {
    me: NodeId,
    boot: u64,
    /// The number of the cluster's key that `key` is made of.
    number: u8,
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    pub(super) fn new(keys: &Keys, me: NodeId, boot: u64) -> Self {
        Self { me, boot, number: keys.current(), key: sender_key(keys.sealing(), me, boot), counter: 0 }
    }

    /// Seals with the current one of these keys from now on.
    pub(super) fn set_keys(&mut self, keys: &Keys) {
        (self.number, self.key) = (keys.current(), sender_key(keys.sealing(), self.me, self.boot));
    }

    /// The datagram for a payload of up to [`MAX_PAYLOAD`] bytes. It may go to any number of receivers, but only
    /// once to each.
    pub(super) fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let mut header = [0; HEADER];
        header[0] = VERSION;
        header[1] = self.number;
        header[2..18].copy_from_slice(self.me.as_bytes());
        header[18..26].copy_from_slice(&self.boot.to_be_bytes());
        header[26..].copy_from_slice(&self.counter.to_be_bytes());
        let mut sealed = payload.to_vec();
        self.key
            .seal_in_place_append_tag(nonce(self.counter), Aad::from(header), &mut sealed)
            .expect("a payload is shorter than AES-GCM's limit of 64 GiB");
        [&header[..], &sealed].concat()
    }
}

/// Opens the others' datagrams, each once.
pub(super) struct Opener {
    keys: Keys,
    /// The nodes of the intent.
    members: BTreeSet<NodeId>,
    /// Who was heard under which of the cluster's keys.
    heard: BTreeMap<u8, HashMap<NodeId, Sender>>,
}

struct Sender {
    boot: u64,
    key: LessSafeKey,
    window: Window,
}

impl Opener {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, members: BTreeSet::new(), heard: BTreeMap::new() }
    }

    /// Opens what is sealed with these keys from now on, and nothing else. What was seen under those that stay is known.
    pub(super) fn set_keys(&mut self, keys: Keys) {
        self.heard.retain(|number, _| keys.get(*number) == self.keys.get(*number));
        self.keys = keys;
    }

    /// Has room for these from now on, whoever else is heard.
    pub(super) fn set_members(&mut self, members: BTreeSet<NodeId>) {
        self.members = members;
    }

    /// The sender and the payload. Nothing that was refused changes what is accepted later.
    pub(super) fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<(NodeId, &'a [u8]), Refusal> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Refusal::Oversized);
        }
        if datagram.len() < HEADER + TAG {
            return Err(Refusal::Truncated);
        }
        let (header, sealed) = datagram.split_first_chunk_mut::<HEADER>().ok_or(Refusal::Truncated)?;
        if header[0] != VERSION {
            return Err(Refusal::Version);
        }
        let number = header[1];
        let cluster_key = self.keys.get(number).ok_or(Refusal::UnknownKey)?;
        let mut id = [0; 16];
        id.copy_from_slice(&header[2..18]);
        let id = NodeId::from_bytes(id);
        let (boot, counter) = (integer(&header[18..26]), integer(&header[26..]));

        let heard = self.heard.entry(number).or_default();
        let open = |key: &LessSafeKey, sealed: &'a mut [u8]| {
            key.open_in_place(nonce(counter), Aad::from(*header), sealed).map_err(|_| Refusal::Forged)
        };
        if let Some(sender) = heard.get_mut(&id).filter(|sender| boot <= sender.boot) {
            if boot < sender.boot {
                return Err(Refusal::Stale);
            }
            if !sender.window.is_fresh(counter) {
                return Err(Refusal::Replayed);
            }
            let payload = open(&sender.key, sealed)?;
            sender.window.mark(counter);
            return Ok((id, payload));
        }
        let key = sender_key(cluster_key, id, boot);
        let payload = open(&key, sealed)?;
        let is_known = heard.contains_key(&id) || self.members.contains(&id);
        if !is_known && heard.len() >= self.members.len() + MOST_STRANGERS {
            return Err(Refusal::Stranger);
        }
        let mut window = Window::default();
        window.mark(counter);
        heard.insert(id, Sender { boot, key, window });
        Ok((id, payload))
    }
}

fn sender_key(cluster_key: &[u8; 32], sender: NodeId, boot: u64) -> LessSafeKey {
    let boot = boot.to_be_bytes();
    let info = [&b"overlay gossip"[..], sender.as_bytes(), &boot];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(cluster_key)
        .expand(&info, &AES_256_GCM)
        .map(UnboundKey::from)
        .expect("HKDF-SHA256 gives 32 bytes");
    LessSafeKey::new(key)
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn integer(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |integer, byte| integer << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
