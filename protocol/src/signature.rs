//! Signatures: the server's hand under its word that a user's image is stored.
//!
//! A receipt without one says something only as long as the server that gave it is believed; a
//! signed one can be shown to anybody who knows the server's public key. What is signed (Ed25519,
//! RFC 8032): `heirloom receipt 1`, the user, the fingerprint, the size, and the time of storing.

use std::fmt;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::fingerprint::Fingerprint;

/// Names the purpose of what is signed, and its version: no signature can be taken for one of
/// something else.
const CONTEXT: &[u8] = b"heirloom receipt 1";

/// Text that is not so many bytes of hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signature is 128, and a key 64 lower-case hex digits")]
pub struct SignatureError;

/// What a receipt says, as it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whose image.
    pub user: i64,
    /// Which.
    pub fingerprint: Fingerprint,
    /// Its length in bytes.
    pub size: u64,
    /// Since when it is theirs, in milliseconds since the epoch.
    pub stored_at_ms: i64,
}

impl Statement {
    /// The bytes that are signed: context, then user, fingerprint, size and time, numbers as 8
    /// bytes big-endian.
    pub fn bytes(&self) -> Vec<u8> {
        let Self {
            user,
            fingerprint,
            size,
            stored_at_ms,
        } = self;
        [
            CONTEXT,
            &user.to_be_bytes(),
            fingerprint.as_bytes(),
            &size.to_be_bytes(),
            &stored_at_ms.to_be_bytes(),
        ]
        .concat()
    }
}

macro_rules! bytes_in_hex {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The bytes themselves.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl From<[u8; $length]> for $name {
            fn from(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), HEXLOWER.encode(&self.0[..4]))
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
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| de::Error::custom(SignatureError))?;
                bytes.try_into().map(Self).map_err(|_| de::Error::custom(SignatureError))
            }
        }
    };
}

bytes_in_hex! {
    /// A signature (Ed25519), in hex on the wire. Not checked by being read.
    Signature, 64
}

bytes_in_hex! {
    /// The public key that a server's receipts are signed with.
    ReceiptKey, 32
}

impl ReceiptKey {
    /// Whether whoever has this key's secret signed this.
    pub fn vouches(&self, statement: &Statement, signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else {
            return false;
        };
        key.verify_strict(&statement.bytes(), &Ed25519::from_bytes(&signature.0))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    #[test]
    fn a_signature_is_good_for_exactly_what_was_signed() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let key = ReceiptKey::from(secret.verifying_key().to_bytes());
        let said = Statement {
            user: 42,
            fingerprint: Fingerprint::of(b"abc"),
            size: 3,
            stored_at_ms: 5,
        };
        let signature = Signature::from(secret.sign(&said.bytes()).to_bytes());
        assert!(key.vouches(&said, &signature));
        for other in [
            Statement { user: 43, ..said },
            Statement {
                fingerprint: Fingerprint::of(b"abd"),
                ..said
            },
            Statement { size: 4, ..said },
            Statement {
                stored_at_ms: 6,
                ..said
            },
        ] {
            assert!(!key.vouches(&other, &signature), "{other:?}");
        }
        let stranger =
            ReceiptKey::from(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert!(!stranger.vouches(&said, &signature));
        assert!(
            !ReceiptKey::from([2; 32]).vouches(&said, &signature),
            "not even a point of the curve"
        );
        let mut spoiled = *signature.as_bytes();
        spoiled[63] ^= 1;
        assert!(!key.vouches(&said, &Signature::from(spoiled)));
    }

    #[test]
    fn what_is_signed_keeps_its_bytes() {
        let said = Statement {
            user: 1,
            fingerprint: Fingerprint::from([9; 32]),
            size: 2,
            stored_at_ms: -1,
        };
        let expected = [
            b"heirloom receipt 1".as_slice(),
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[9; 32],
            &[0, 0, 0, 0, 0, 0, 0, 2],
            &[255; 8],
        ];
        assert_eq!(said.bytes(), expected.concat());
    }
}
