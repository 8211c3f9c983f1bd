//! `Content-Digest` (RFC 9530): the checksum of one message's bytes, so that a shard damaged on
//! the way is refused before it is stored.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;

use crate::fingerprint::Fingerprint;

/// SHA-256 of one message's body, written `sha-256=:<base64>:` (RFC 9530 section 2, RFC 8941 byte
/// sequence).
///
/// Of a shard that is the whole image it is the image's fingerprint: neither side hashes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentDigest(Fingerprint);

/// A header that holds no SHA-256 we can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Content-Digest is sha-256=:<base64 of 32 bytes>:")]
pub struct DigestError;

impl ContentDigest {
    /// The digest of a body that is in memory.
    pub fn of(body: &[u8]) -> Self {
        Self(Fingerprint::of(body))
    }

    /// The SHA-256, in the type that an image's has.
    pub const fn fingerprint(self) -> Fingerprint {
        self.0
    }
}

impl From<Fingerprint> for ContentDigest {
    fn from(fingerprint: Fingerprint) -> Self {
        Self(fingerprint)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha-256=:{}:", BASE64.encode(self.0.as_bytes()))
    }
}

impl FromStr for ContentDigest {
    type Err = DigestError;

    /// Reads a header's value. Other algorithms in the same dictionary are passed over.
    fn from_str(header: &str) -> Result<Self, DigestError> {
        let ours = header
            .split(',')
            .find_map(|member| member.trim().strip_prefix("sha-256="))
            .ok_or(DigestError)?;
        let text = ours
            .strip_prefix(':')
            .and_then(|rest| rest.strip_suffix(':'))
            .ok_or(DigestError)?;
        let digest = BASE64.decode(text.as_bytes()).map_err(|_| DigestError)?;
        Fingerprint::try_from(digest.as_slice())
            .map(Self)
            .map_err(|_| DigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_rfc_9530_has_it() {
        // RFC 9530 appendix B.1: the body {"hello": "world"} and a newline.
        let digest = ContentDigest::of(b"{\"hello\": \"world\"}\n");
        assert_eq!(
            digest.to_string(),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(format!("md5=:AAAA:, {digest}").parse(), Ok(digest));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "sha-256",
            "sha-256=::",
            "sha-256=:AAAA:",
            "md5=:AAAA:",
            "sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
            "sha-256=:€:",
        ] {
            assert_eq!(
                wrong.parse::<ContentDigest>(),
                Err(DigestError),
                "{wrong:?}"
            );
        }
    }
}
