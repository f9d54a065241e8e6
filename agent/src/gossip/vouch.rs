//! Owners vouch for their facts, so that nobody can state another node's: not by a forged sender, which every member can
//! seal as, and not by relaying what the owner never said.
//!
//! An owner signs (Ed25519) a digest of *all* that it states as of a change, together with the digest of what it pushes.
//! Who receives the push checks that alone, before it takes anything. Who hands the owner's facts on, in an exchange, hands
//! on the signature with them; the receiver computes what they come to with what it holds, and takes them if that is what
//! the owner signed: nothing is added, altered or left out. So it takes one signature a push, and one check an owner in an
//! exchange, however many facts it has. The keys are in the intent, where a node can change no other's.

use std::fmt;

use overlay::facts::Delta;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::store::{Key, Store, StoreError};

/// What every signed message begins with: the key signs nothing else.
const CONTEXT: &[u8] = b"overlay facts, version 1";

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// A public key that proves a node's facts.
pub type FactsKey = [u8; 32];

/// Signs this node's facts.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Of the node that drew this secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(secret).expect("any 32 bytes are an Ed25519 seed"))
    }

    /// Of the secret in the store; it is drawn when there is none yet.
    ///
    /// # Errors
    /// The store's.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        store.write(|batch| {
            let secret = match batch.get::<[u8; 32]>(Key::FactsSecret)? {
                Some(secret) => secret,
                None => {
                    let secret = rand::random();
                    batch.put(Key::FactsSecret, &secret)?;
                    secret
                }
            };
            Ok(Self::new(&secret))
        })
    }

    /// What proves its signatures.
    pub fn key(&self) -> FactsKey {
        let mut key = FactsKey::default();
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }

    /// Vouches for a statement, when `pushed` is sent.
    pub(super) fn vouch(&self, statement: &Digest, pushed: Digest) -> Voucher {
        let signature = self.0.sign(&message(statement, &pushed));
        let mut halves = [Digest::default(); 2];
        halves.as_flattened_mut().copy_from_slice(signature.as_ref());
        Voucher { pushed, signature: halves }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&overlay::hex::encode(&self.key())).finish()
    }
}

/// An owner's word for a statement, for those who know the statement itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Voucher {
    /// Of what was pushed when it was given.
    pushed: Digest,
    signature: [Digest; 2],
}

impl Voucher {
    /// Whether the owner of the key gave it for that statement.
    pub(super) fn is_for(&self, statement: &Digest, key: &FactsKey) -> bool {
        let message = message(statement, &self.pushed);
        UnparsedPublicKey::new(&ED25519, key).verify(&message, self.signature.as_flattened()).is_ok()
    }
}

/// A change, with its owner's word for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Push {
    pub(super) delta: Delta,
    /// Of all that the owner states as of the delta's head.
    statement: Digest,
    signature: [Digest; 2],
}

impl Push {
    /// What it adds to the delta, in bytes.
    pub(super) const OVERHEAD: usize = 3 * size_of::<Digest>();

    pub(super) fn new(delta: Delta, statement: Digest, signer: &Signer) -> Self {
        let Voucher { signature, .. } = signer.vouch(&statement, digest_of_delta(&delta));
        Self { delta, statement, signature }
    }

    /// The owner's word for its statement, if the owner of the key pushed this.
    pub(super) fn voucher(&self, key: &FactsKey) -> Option<Voucher> {
        let voucher = Voucher { pushed: digest_of_delta(&self.delta), signature: self.signature };
        voucher.is_for(&self.statement, key).then_some(voucher)
    }
}

/// A digest of bytes.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    let mut value = Digest::default();
    value.copy_from_slice(digest(&SHA256, bytes).as_ref());
    value
}

fn digest_of_delta(delta: &Delta) -> Digest {
    digest_of(&postcard::to_stdvec(delta).expect("plain data with known lengths always encodes"))
}

fn message(statement: &Digest, pushed: &Digest) -> Vec<u8> {
    [CONTEXT, statement, pushed].concat()
}

#[cfg(test)]
mod tests {
    use overlay::model::NodeId;

    use super::*;

    const SECRET: [u8; 32] = [1; 32];

    fn push() -> Push {
        let owner = NodeId::from_bytes([1; 16]);
        let delta = Delta { owner, generation: 1, head: 2, floor: 0, from: 1, to: 2, records: vec![] };
        Push::new(delta, [7; 32], &Signer::new(&SECRET))
    }

    #[test]
    fn a_push_proves_itself_and_the_statement_to_those_who_know_it() {
        let key = Signer::new(&SECRET).key();
        let voucher = push().voucher(&key).expect("the owner's own");
        assert!(voucher.is_for(&[7; 32], &key));
        assert!(!voucher.is_for(&[8; 32], &key));
    }

    #[test]
    fn another_key_or_anything_altered_proves_nothing() {
        let key = Signer::new(&SECRET).key();
        assert_eq!(push().voucher(&Signer::new(&[2; 32]).key()), None);
        assert_eq!(Push { statement: [8; 32], ..push() }.voucher(&key), None);
        let mut more = push();
        more.delta.head += 1;
        assert_eq!(more.voucher(&key), None);
        let mut signature = push().signature;
        signature[1][31] ^= 1;
        assert_eq!(Push { signature, ..push() }.voucher(&key), None);
    }

    #[test]
    fn its_overhead_is_what_it_adds() {
        let (bare, pushed) = (postcard::to_stdvec(&push().delta), postcard::to_stdvec(&push()));
        assert_eq!(pushed.unwrap().len(), bare.unwrap().len() + Push::OVERHEAD);
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let signer = Signer::new(&SECRET);
        assert!(!format!("{signer:?}").contains("0101010101"));
    }
}
