//! The quota argument: a size, or `none`.

use std::str::FromStr;

use heirloom_support::units::{UnitError, parse_bytes};

/// How many bytes a user may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// No limit.
    Unlimited,
    /// At most this many bytes.
    Bytes(u64),
}

impl Quota {
    /// The limit in bytes, if there is one.
    pub(crate) const fn bytes(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

impl FromStr for Quota {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "none" {
            return Ok(Self::Unlimited);
        }
        parse_bytes(text).map(Self::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_size_or_none() {
        for (text, expected) in [
            ("0", 0),
            ("500", 500),
            ("20k", 20_000),
            ("5GB", 5_000_000_000),
            ("3GiB", 3 << 30),
            ("2T", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Quota::Bytes(expected)), "{text}");
        }
        assert_eq!("none".parse(), Ok(Quota::Unlimited));
        for text in ["", "-1", "G", "1.5G", "None", "99999999999T"] {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }
}
