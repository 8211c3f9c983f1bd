//! Amounts as an administrator writes them.

use std::time::Duration;

use anyhow::{Context as _, bail};

/// How much a user may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Whatever there is room for.
    None,
    /// So many bytes.
    Bytes(u64),
}

impl Quota {
    pub(crate) const fn bytes(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// `none`, or bytes with an optional decimal unit.
pub(crate) fn quota(text: &str) -> anyhow::Result<Quota> {
    if text == "none" {
        return Ok(Quota::None);
    }
    let (number, unit) =
        number_and_unit(text).context("a quota is a number of bytes, such as 500M, or none")?;
    let unit: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => bail!("a quota ends in k, M, G, T or nothing"),
    };
    number
        .checked_mul(unit)
        .map(Quota::Bytes)
        .context("no disk has so much room")
}

/// A number and s, m, h, d or w.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) =
        number_and_unit(text).context("a time is a number and a unit, such as 30d")?;
    let unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => bail!("a time ends in s, m, h, d or w"),
    };
    number
        .checked_mul(unit)
        .map(Duration::from_secs)
        .context("that is longer than anybody waits")
}

fn number_and_unit(text: &str) -> anyhow::Result<(u64, &str)> {
    let digits = text.len()
        - text
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .len();
    let (number, unit) = text.split_at(digits);
    Ok((number.parse()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, expected) in [
            ("0", 0),
            ("500", 500),
            ("20k", 20_000),
            ("3G", 3_000_000_000),
            ("2T", 2_000_000_000_000),
        ] {
            assert_eq!(quota(text).unwrap(), Quota::Bytes(expected), "{text}");
        }
        assert_eq!(quota("none").unwrap().bytes(), None);
        for text in ["", "-1", "G", "5GB", "1.5G", "None", "99999999999T"] {
            assert!(quota(text).is_err(), "{text}");
        }
        for (text, expected) in [
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("30d", 2_592_000),
            ("1w", 604_800),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_secs(expected),
                "{text}"
            );
        }
        for text in ["", "30", "d", "-1d", "1y", "18446744073709551615w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
