//! A size in bytes or a percentage of the disk.

use std::fmt;
use std::str::FromStr;

use heirloom_support::units::parse_bytes;

/// A part of a disk: a number of bytes, or a percentage of the disk's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeOrPercent {
    /// A number of bytes.
    Bytes(u64),
    /// Hundredths of the disk's size, at most 100.
    Percent(u8),
}

/// A text that is neither a size nor a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither a size, such as 500M, 20GB or 20GiB, nor a part of the disk, such as 50%"
)]
pub struct ParseSizeOrPercentError(String);

impl SizeOrPercent {
    /// The number of bytes on a disk of this size.
    pub(super) const fn of(self, disk_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => disk_bytes / 100 * percent as u64,
        }
    }
}

impl FromStr for SizeOrPercent {
    type Err = ParseSizeOrPercentError;

    fn from_str(text: &str) -> Result<Self, ParseSizeOrPercentError> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Self::Percent),
            None => parse_bytes(text).ok().map(Self::Bytes),
        };
        parsed.ok_or_else(|| ParseSizeOrPercentError(text.to_owned()))
    }
}

impl fmt::Display for SizeOrPercent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(formatter, "{bytes}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_percentages_parse_as_people_write_them() {
        for (text, expected) in [
            ("0", SizeOrPercent::Bytes(0)),
            ("123", SizeOrPercent::Bytes(123)),
            ("64k", SizeOrPercent::Bytes(64_000)),
            ("500M", SizeOrPercent::Bytes(500_000_000)),
            ("20GB", SizeOrPercent::Bytes(20_000_000_000)),
            ("1TiB", SizeOrPercent::Bytes(1 << 40)),
            ("50%", SizeOrPercent::Percent(50)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(
                expected.to_string().parse(),
                Ok(expected),
                "and it parses as it is printed"
            );
        }
        for text in ["", "G", "-1", "101%", "1.5G", "10X", "99999999999T", "%"] {
            assert_eq!(
                text.parse::<SizeOrPercent>(),
                Err(ParseSizeOrPercentError(text.to_owned()))
            );
        }
    }
}
