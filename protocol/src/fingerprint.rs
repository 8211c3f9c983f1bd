//! Fingerprints: the identity of an image, SHA-256 of its whole content.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of an image's content (FIPS 180-4), always written as 64 lower-case hex digits.
///
/// ```
/// use heirloom_protocol::Fingerprint;
///
/// let fingerprint = Fingerprint::of(b"abc");
/// let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// assert_eq!(fingerprint.to_string(), text);
/// assert_eq!(text.parse(), Ok(fingerprint));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// Text that is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 lower-case hex digits")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of content in memory.
    pub fn of(content: &[u8]) -> Self {
        let mut fingerprinter = Fingerprinter::default();
        fingerprinter.update(content);
        fingerprinter.finish()
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl TryFrom<&[u8]> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(digest: &[u8]) -> Result<Self, FingerprintError> {
        digest.try_into().map(Self).map_err(|_| FingerprintError)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        // One spelling only: upper case would be a second name for the same image in logs and URLs.
        let digest = HEXLOWER
            .decode(text.as_bytes())
            .map_err(|_| FingerprintError)?;
        Self::try_from(digest.as_slice())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Computes a [`Fingerprint`] incrementally, over content in order.
#[derive(Clone, Default)]
pub struct Fingerprinter(Sha256);

impl Fingerprinter {
    /// Adds the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The fingerprint of all bytes added.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fingerprinter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, the example message "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_fingerprint_is_sha256_of_the_content() {
        assert_eq!(Fingerprint::of(b"abc").to_string(), ABC);
    }

    #[test]
    fn bytes_in_pieces_make_the_same_fingerprint() {
        let mut fingerprinter = Fingerprinter::default();
        fingerprinter.update(b"a");
        fingerprinter.update(b"");
        fingerprinter.update(b"bc");
        assert_eq!(fingerprinter.finish().to_string(), ABC);
    }

    #[test]
    fn only_lower_case_hex_is_accepted() {
        assert_eq!(
            ABC.parse::<Fingerprint>().map(|it| it.to_string()),
            Ok(ABC.to_owned())
        );
        for wrong in [
            "",
            "ab",
            &ABC.to_uppercase(),
            &ABC[1..],
            &format!("{ABC}0"),
            &format!("{}g", &ABC[1..]),
            "../../etc/passwd",
        ] {
            assert_eq!(
                wrong.parse::<Fingerprint>(),
                Err(FingerprintError),
                "{wrong:?}"
            );
        }
    }
}
