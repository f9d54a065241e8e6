//! Sealed datagrams: AES-256-GCM under a key of each sender and boot.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | format version |
//! | 1 | key id |
//! | 2..18 | sender |
//! | 18..26 | the sender's boot generation, big endian |
//! | 26..34 | counter, big endian, never used twice in a boot |
//! | 34.. | ciphertext and its 16-byte tag |
//!
//! The header is authenticated with the payload. A sender's key is HKDF-SHA256(cluster key, "overlay gossip" ||
//! sender || boot), so no two senders and no two boots share a nonce. The seal proves that the sender is a
//! member of the cluster; which member is its word alone, for every member can derive every key.

use std::collections::HashMap;

use overlay::model::NodeId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use super::replay::Window;

/// The largest datagram, in bytes: it passes an underlay with an MTU of 1,400.
pub(super) const MAX_DATAGRAM: usize = 1350;
/// The largest payload of a datagram, in bytes.
pub(super) const MAX_PAYLOAD: usize = MAX_DATAGRAM - HEADER - TAG;

const VERSION: u8 = 1;
/// The cluster key in use; others will follow when keys are rotated.
const KEY_ID: u8 = 0;
const HEADER: usize = 34;
const TAG: usize = 16;

/// Why a datagram was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("longer than {MAX_DATAGRAM} bytes")]
    Oversized,
    #[error("shorter than a header and a tag")]
    Truncated,
    #[error("of another format version")]
    Version,
    #[error("sealed with an unknown or different key, or altered")]
    Forged,
    #[error("of an older boot of its sender")]
    Stale,
    #[error("seen before, or too old to tell")]
    Replayed,
}

/// Seals this node's datagrams.
pub(super) struct Sealer {
    me: NodeId,
    boot: u64,
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    pub(super) fn new(cluster_key: &[u8; 32], me: NodeId, boot: u64) -> Self {
        Self { me, boot, key: sender_key(cluster_key, me, boot), counter: 0 }
    }

    /// The datagram for a payload of up to [`MAX_PAYLOAD`] bytes. It may go to any number of receivers, but only
    /// once to each.
    pub(super) fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let mut header = [0; HEADER];
        header[0] = VERSION;
        header[1] = KEY_ID;
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
    cluster_key: [u8; 32],
    senders: HashMap<NodeId, Sender>,
}

struct Sender {
    boot: u64,
    key: LessSafeKey,
    window: Window,
}

impl Opener {
    pub(super) fn new(cluster_key: [u8; 32]) -> Self {
        Self { cluster_key, senders: HashMap::new() }
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
        if header[1] != KEY_ID {
            return Err(Refusal::Forged);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&header[2..18]);
        let id = NodeId::from_bytes(id);
        let (boot, counter) = (number(&header[18..26]), number(&header[26..]));

        let known = self.senders.get_mut(&id);
        if known.as_ref().is_some_and(|sender| boot < sender.boot) {
            return Err(Refusal::Stale);
        }
        let open = |key: &LessSafeKey, sealed: &'a mut [u8]| {
            key.open_in_place(nonce(counter), Aad::from(*header), sealed).map_err(|_| Refusal::Forged)
        };
        match known.filter(|sender| sender.boot == boot) {
            Some(sender) => {
                if !sender.window.is_fresh(counter) {
                    return Err(Refusal::Replayed);
                }
                let payload = open(&sender.key, sealed)?;
                sender.window.mark(counter);
                Ok((id, payload))
            }
            None => {
                let key = sender_key(&self.cluster_key, id, boot);
                let payload = open(&key, sealed)?;
                let mut window = Window::default();
                window.mark(counter);
                self.senders.insert(id, Sender { boot, key, window });
                Ok((id, payload))
            }
        }
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

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(&KEY, node(1), 5), Opener::new(KEY))
    }

    #[test]
    fn what_is_sealed_opens_once() {
        let (mut sealer, mut opener) = pair();
        let mut datagram = sealer.seal(b"hello");
        assert_eq!(opener.open(&mut datagram.clone()), Ok((node(1), &b"hello"[..])));
        assert_eq!(opener.open(&mut datagram), Err(Refusal::Replayed));
    }

    #[test]
    fn the_largest_payload_fits_and_no_more() {
        let (mut sealer, mut opener) = pair();
        let mut datagram = sealer.seal(&[0; MAX_PAYLOAD]);
        assert_eq!(datagram.len(), MAX_DATAGRAM);
        assert!(opener.open(&mut datagram).is_ok());
        assert_eq!(opener.open(&mut sealer.seal(&[0; MAX_PAYLOAD + 1])), Err(Refusal::Oversized));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let (mut sealer, mut opener) = pair();
        let mut datagram = sealer.seal(b"hello");
        for position in 0..datagram.len() {
            let mut altered = datagram.clone();
            altered[position] ^= 1;
            assert!(opener.open(&mut altered).is_err(), "byte {position}");
        }
        for length in 0..datagram.len() {
            assert!(opener.open(&mut datagram[..length].to_vec()).is_err(), "{length} bytes");
        }
        assert!(opener.open(&mut datagram).is_ok(), "what was refused changed nothing");
    }

    #[test]
    fn another_clusters_key_opens_nothing() {
        let (mut sealer, _) = pair();
        assert_eq!(Opener::new([8; 32]).open(&mut sealer.seal(b"hello")), Err(Refusal::Forged));
    }

    #[test]
    fn an_older_boot_is_refused_and_a_newer_one_starts_afresh() {
        let (mut old, mut opener) = pair();
        let mut first = old.seal(b"old");
        let mut new = Sealer::new(&KEY, node(1), 6);
        assert!(opener.open(&mut first).is_ok());
        assert!(opener.open(&mut new.seal(b"new")).is_ok(), "the same counter, but another boot");
        assert_eq!(opener.open(&mut old.seal(b"old")), Err(Refusal::Stale));
    }
}
