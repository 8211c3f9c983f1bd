//! The unique image identifier (patent step M2): SHA-256 of the whole content.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// SHA-256 of an image's content. Written as 64 lower-case hex digits, everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// Text that is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 lower-case hex digits")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of content that is in memory.
    pub fn of(content: &[u8]) -> Self {
        let mut fingerprinter = Fingerprinter::default();
        fingerprinter.update(content);
        fingerprinter.finish()
    }

    /// The digest itself, as SHA-256 gives it.
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

/// Makes a [`Fingerprint`] of bytes that pass by, in order.
#[derive(Clone, Default)]
pub struct Fingerprinter(Sha256);

impl Fingerprinter {
    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The fingerprint of all bytes taken.
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
    fn only_the_one_spelling_is_read() {
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
