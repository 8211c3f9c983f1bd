//! Proof of possession (M9): that a client holds an image's bytes, not only its fingerprint.
//!
//! The server gives out a nonce N for a (user, token, hour). Both sides derive
//! `K = BLAKE3 derive_key("heirloom possession 1", N || user || size)` and compute
//! `proof = BLAKE3 keyed by K` over the whole content. The key goes in before the content, so no
//! state kept from an earlier hashing answers a later nonce; user and size are in the key, so a
//! proof is of no use to anybody else or for any other length.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The context string of the key derivation (BLAKE3 section 6.2): names the purpose and its
/// version.
const CONTEXT: &str = "heirloom possession 1";

/// Images below this are simply uploaded, in bytes: a small screenshot or form could be guessed
/// content by content, and costs little to send.
pub const SIZE_MIN: u64 = 64 << 10;

/// How long one nonce is given out, in seconds. The one before it is good as well.
pub const NONCE_SECONDS: u64 = 3600;

/// The account that a proof speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Text that is not 32 bytes of hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a nonce or a proof is 64 lower-case hex digits")]
pub struct TokenError;

macro_rules! thirty_two_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The bytes themselves.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| de::Error::custom(TokenError))?;
                bytes.try_into().map(Self).map_err(|_| de::Error::custom(TokenError))
            }
        }

        // In constant time: BLAKE3's own hash type compares so.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
            }
        }

        impl Eq for $name {}

        // Neither belongs in a log.
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

thirty_two_bytes! {
    /// What the server asks a proof to be made with: good for one user and token, this hour and the
    /// next.
    Nonce
}

thirty_two_bytes! {
    /// Says: I have every byte of this image, now.
    Proof
}

/// Computes a [`Proof`] over content that passes by, in order.
#[derive(Clone)]
pub struct Prover(blake3::Hasher);

impl Prover {
    /// Begins a proof that `user` has an image of `size` bytes.
    pub fn new(nonce: &Nonce, user: UserId, size: u64) -> Self {
        let mut derivation = blake3::Hasher::new_derive_key(CONTEXT);
        derivation
            .update(&nonce.0)
            .update(&user.0.to_be_bytes())
            .update(&size.to_be_bytes());
        Self(blake3::Hasher::new_keyed(derivation.finalize().as_bytes()))
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The proof over all bytes taken.
    pub fn finish(self) -> Proof {
        Proof(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Prover")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proof(nonce: [u8; 32], user: i64, size: u64, content: &[u8]) -> Proof {
        let mut prover = Prover::new(&Nonce::from(nonce), UserId(user), size);
        prover.update(content);
        prover.finish()
    }

    #[test]
    fn the_proof_of_a_known_content_never_changes() {
        // A golden value: clients and servers of different versions must agree on it.
        let golden = proof([7; 32], 42, 5, b"photo");
        assert_eq!(
            serde_json::to_string(&golden).unwrap(),
            "\"2d066838c5309ad2240d0e666128bbfee785635be0ded68d790e9f6f4992f26e\""
        );
    }

    proptest! {
        #[test]
        fn every_byte_and_every_word_of_the_key_matters(
            content in prop::collection::vec(any::<u8>(), 1..2000),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..=255,
            cut in any::<prop::sample::Index>(),
        ) {
            let size = content.len() as u64;
            let honest = proof([1; 32], 1, size, &content);
            let mut damaged = content.clone();
            damaged[at.index(content.len())] ^= flip;
            prop_assert_ne!(honest, proof([1; 32], 1, size, &damaged));
            prop_assert_ne!(honest, proof([2; 32], 1, size, &content));
            prop_assert_ne!(honest, proof([1; 32], 2, size, &content));
            prop_assert_ne!(honest, proof([1; 32], 1, size + 1, &content));
            let mut pieces = Prover::new(&Nonce::from([1; 32]), UserId(1), size);
            let (left, right) = content.split_at(cut.index(content.len()));
            pieces.update(left);
            pieces.update(right);
            prop_assert_eq!(honest, pieces.finish());
        }
    }

    #[test]
    fn neither_nonce_nor_proof_shows_in_a_log() {
        assert_eq!(
            format!("{:?} {:?}", Nonce([9; 32]), Proof([9; 32])),
            "Nonce(..) Proof(..)"
        );
    }
}
