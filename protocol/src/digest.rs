//! `Content-Digest`, the checksum of one message's bytes (RFC 9530). With it the server rejects a
//! shard that was damaged on the way before it stores anything.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;

use crate::fingerprint::Fingerprint;

/// SHA-256 of one message's body, written `sha-256=:<base64>:` (RFC 9530 section 2; a byte sequence
/// of RFC 8941).
///
/// If a shard is the whole image, its digest is the image's fingerprint, so that neither side
/// hashes twice.
///
/// ```
/// use heirloom_protocol::{ContentDigest, Fingerprint};
///
/// let digest = ContentDigest::of(b"abc");
/// assert_eq!(
///     digest.to_string(),
///     "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"
/// );
/// let parsed: ContentDigest = digest.to_string().parse()?;
/// assert_eq!(parsed.fingerprint(), Fingerprint::of(b"abc"));
/// # Ok::<(), heirloom_protocol::digest::DigestError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentDigest(Fingerprint);

/// A header without a valid SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed Content-Digest: expected sha-256=:<base64 of 32 bytes>:")]
pub struct DigestError;

impl ContentDigest {
    /// The digest of a body in memory.
    pub fn of(body: &[u8]) -> Self {
        Self(Fingerprint::of(body))
    }

    /// The digest as a fingerprint.
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

    /// Parses a header's value. Other algorithms in the same dictionary are ignored.
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
    fn a_digest_is_written_as_in_rfc_9530() {
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
