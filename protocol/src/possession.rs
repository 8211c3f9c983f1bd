//! Proof of possession: that a client holds an image's bytes and not only its fingerprint.
//!
//! The server issues a nonce N per user, token and hour. Both sides derive
//! `K = BLAKE3 derive_key("heirloom possession 1", N || user || size)` and compute
//! `proof = BLAKE3 keyed with K` over the whole content. The key enters before the content, so that
//! no state saved from an earlier hashing can answer a later nonce. User and size are part of the
//! key, so that a proof is useless to another user and for another length.
//!
//! ```
//! use heirloom_protocol::possession::{Nonce, Prover, UserId};
//!
//! let image = b"photo";
//! let prove = |nonce: [u8; 32]| {
//!     let mut prover = Prover::new(&Nonce::from(nonce), UserId(42), image.len() as u64);
//!     prover.update(image);
//!     prover.finish()
//! };
//! assert_eq!(prove([7; 32]), prove([7; 32]));
//! assert_ne!(prove([7; 32]), prove([8; 32]));
//! ```

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Context string of the key derivation (BLAKE3 paper, section 6.2): the purpose and its version.
const CONTEXT: &str = "heirloom possession 1";

/// Minimum size of an image for which a proof is accepted, in bytes. Smaller ones are uploaded: the
/// content of a small screenshot or form could be guessed, and sending it costs little.
pub const SIZE_MIN: u64 = 64 << 10;

/// How long the server issues one nonce, in seconds. The previous nonce stays valid as well.
pub const NONCE_SECONDS: u64 = 3600;

/// The id of a user account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Text that is not a nonce or proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a nonce or a proof is 64 lower-case hex digits")]
pub struct HexError;

/// Defines a type of 32 bytes, written as hex, compared in constant time and hidden from logs.
macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The bytes.
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
                let bytes = HEXLOWER
                    .decode(text.as_bytes())
                    .map_err(|_| de::Error::custom(HexError))?;
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_| de::Error::custom(HexError))
            }
        }

        // In constant time, as BLAKE3's hash type compares.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
            }
        }

        impl Eq for $name {}

        // Must not appear in logs.
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_bytes! {
    /// A nonce for proofs, issued by the server: valid for one user and token, in this hour and the
    /// next.
    Nonce
}

secret_bytes! {
    /// A proof that its sender holds every byte of an image.
    Proof
}

/// Computes a [`Proof`] incrementally, over content in order.
#[derive(Clone)]
pub struct Prover(blake3::Hasher);

impl Prover {
    /// Begins the proof that `user` holds an image of `size` bytes.
    pub fn new(nonce: &Nonce, user: UserId, size: u64) -> Self {
        let mut derivation = blake3::Hasher::new_derive_key(CONTEXT);
        derivation
            .update(&nonce.0)
            .update(&user.0.to_be_bytes())
            .update(&size.to_be_bytes());
        Self(blake3::Hasher::new_keyed(derivation.finalize().as_bytes()))
    }

    /// Adds the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The proof over all bytes added.
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
        fn every_byte_and_every_part_of_the_key_changes_the_proof(
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
    fn debug_output_hides_nonces_and_proofs() {
        assert_eq!(
            format!("{:?} {:?}", Nonce([9; 32]), Proof([9; 32])),
            "Nonce(..) Proof(..)"
        );
    }
}
