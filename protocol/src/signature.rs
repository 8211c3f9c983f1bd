//! Signatures of receipts (Ed25519, RFC 8032).
//!
//! An unsigned receipt is worth as much as the connection it came over; a signed one can be shown
//! to anybody who knows the server's public key. The signature covers the text `heirloom receipt
//! 1`, the user, the fingerprint, the size and the time of storing.

use std::fmt;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature as Ed25519, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::fingerprint::Fingerprint;

/// The purpose of the signature and its version. It keeps a signature from being valid for anything
/// else that the same key may sign.
const CONTEXT: &[u8] = b"heirloom receipt 1";

/// Text that is not a signature or public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signature is 128 lower-case hex digits, a public key 64")]
pub struct SignatureError;

/// The content of a receipt that its signature covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptPayload {
    /// The id of the user who holds the image.
    pub user: i64,
    /// The image's fingerprint.
    pub fingerprint: Fingerprint,
    /// The image's length in bytes.
    pub size: u64,
    /// When the user came to hold the image, in milliseconds since the Unix epoch.
    pub stored_at_ms: i64,
}

impl ReceiptPayload {
    /// The bytes that are signed: the context, then user, fingerprint, size and time. Numbers take
    /// 8 bytes, big-endian.
    pub fn encode(&self) -> Vec<u8> {
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

/// Defines a type of a fixed number of bytes, written as hex.
macro_rules! hex_bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The bytes.
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
                let start = HEXLOWER.encode(&self.0[..4]);
                write!(formatter, "{}({start})", stringify!($name))
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
                    .map_err(|_| de::Error::custom(SignatureError))?;
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_| de::Error::custom(SignatureError))
            }
        }
    };
}

hex_bytes! {
    /// An Ed25519 signature, written as hex. Parsing does not verify it: [`ReceiptKey::verify`]
    /// does.
    Signature, 64
}

hex_bytes! {
    /// The Ed25519 public key that verifies a server's receipts, written as hex.
    ReceiptKey, 32
}

impl ReceiptKey {
    /// Whether `signature` is a valid signature of `payload` under this key.
    pub fn verify(&self, payload: &ReceiptPayload, signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else {
            return false;
        };
        key.verify_strict(&payload.encode(), &Ed25519::from_bytes(&signature.0))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    #[test]
    fn a_signature_is_valid_for_exactly_what_was_signed() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let key = ReceiptKey::from(secret.verifying_key().to_bytes());
        let payload = ReceiptPayload {
            user: 42,
            fingerprint: Fingerprint::of(b"abc"),
            size: 3,
            stored_at_ms: 5,
        };
        let signature = Signature::from(secret.sign(&payload.encode()).to_bytes());
        assert!(key.verify(&payload, &signature));
        for other in [
            ReceiptPayload {
                user: 43,
                ..payload
            },
            ReceiptPayload {
                fingerprint: Fingerprint::of(b"abd"),
                ..payload
            },
            ReceiptPayload { size: 4, ..payload },
            ReceiptPayload {
                stored_at_ms: 6,
                ..payload
            },
        ] {
            assert!(!key.verify(&other, &signature), "{other:?}");
        }
        let other_key =
            ReceiptKey::from(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert!(!other_key.verify(&payload, &signature));
        assert!(
            !ReceiptKey::from([2; 32]).verify(&payload, &signature),
            "these bytes are no point of the curve"
        );
        let mut spoiled = *signature.as_bytes();
        spoiled[63] ^= 1;
        assert!(!key.verify(&payload, &Signature::from(spoiled)));
    }

    #[test]
    fn the_signed_bytes_never_change() {
        let payload = ReceiptPayload {
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
        assert_eq!(payload.encode(), expected.concat());
    }
}
