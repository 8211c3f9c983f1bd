//! Sizes and ages as people write and read them: `20G`, `512 MiB`, `30d`.
//!
//! Decimal units (k, M, G, T, with or without a B) are powers of 1,000, binary units (KiB, MiB,
//! GiB, TiB) powers of 1,024 (IEC 80000-13), in everything that is parsed and printed.

use std::time::Duration;

/// A size or an age that could not be parsed. The message says what a valid one looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("{0:?} is not a size; write a number and a unit, such as 500M, 20GB or 20GiB")]
    Size(String),
    /// Not an age.
    #[error("{0:?} is not a length of time; write a number and s, m, h, d or w, such as 30d")]
    Duration(String),
    /// More than 64 bits can count.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Parses a size in bytes: a whole number with an optional unit, upper or lower case.
///
/// ```
/// use heirloom_support::units::parse_bytes;
/// assert_eq!(parse_bytes("20G"), Ok(20_000_000_000));
/// assert_eq!(parse_bytes("20GB"), Ok(20_000_000_000));
/// assert_eq!(parse_bytes("20 GiB"), Ok(20 << 30));
/// assert!(parse_bytes("20 gallons").is_err());
/// ```
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(UnitError::Size(text.to_owned())),
    };
    multiply(text, number, unit, UnitError::Size)
}

/// Parses a length of time: a whole number and `s`, `m` (minutes), `h`, `d` or `w`.
///
/// ```
/// use std::time::Duration;
/// use heirloom_support::units::parse_duration;
/// assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
/// assert!(parse_duration("30").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(UnitError::Duration(text.to_owned())),
    };
    multiply(text, number, unit, UnitError::Duration).map(Duration::from_secs)
}

/// A size with a decimal unit and one digit after the point: `999 B`, `516.2 MB`.
///
/// ```
/// use heirloom_support::units::display_bytes;
/// assert_eq!(display_bytes(999), "999 B");
/// assert_eq!(display_bytes(516_200_000), "516.2 MB");
/// ```
pub fn display_bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    // In tenths of the unit, rounded to the nearest: 999,950 B are 1.0 MB, not 1000.0 kB.
    let mut tenths = bytes.saturating_add(50) / 100;
    let mut unit = 0;
    let mut divisor = 100_u64;
    while tenths >= 10_000 && unit + 1 < units.len() {
        divisor *= 1_000;
        unit += 1;
        tenths = bytes.saturating_add(divisor / 2) / divisor;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

/// A length of time in its largest whole unit: `3 d`, `12 h`, `5 min`, `40 s`.
pub fn display_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let largest = units.into_iter().find(|(length, _)| seconds >= *length);
    largest.map_or_else(
        || format!("{seconds} s"),
        |(length, name)| format!("{} {name}", seconds / length),
    )
}

/// A number and the unit behind it, with or without a space between.
fn split(text: &str) -> (&str, &str) {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let (number, unit) = text.split_at(text.len() - unit.len());
    (number, unit.strip_prefix(' ').unwrap_or(unit))
}

fn multiply(
    text: &str,
    number: &str,
    unit: u64,
    error: fn(String) -> UnitError,
) -> Result<u64, UnitError> {
    if number.is_empty() {
        return Err(error(text.to_owned()));
    }
    // All digits: only the size of the number can be wrong.
    let number = number.parse::<u64>().ok();
    let product = number.and_then(|number| number.checked_mul(unit));
    product.ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_the_same_everywhere() {
        for (text, expected) in [
            ("0", 0),
            ("500", 500),
            ("500B", 500),
            ("20k", 20_000),
            ("20K", 20_000),
            ("3G", 3_000_000_000),
            ("5GB", 5_000_000_000),
            ("5 gb", 5_000_000_000),
            ("20GiB", 20 << 30),
            ("20 Gi", 20 << 30),
            ("2T", 2_000_000_000_000),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "-1",
            "G",
            "1.5G",
            "5 gallons",
            "5  G",
            " 5G",
            "None",
            "+5",
            "50%",
        ] {
            assert_eq!(parse_bytes(text), Err(UnitError::Size(text.to_owned())));
        }
        for text in [
            "99999999999T",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert_eq!(parse_bytes(text), Err(UnitError::TooLarge(text.to_owned())));
        }
    }

    #[test]
    fn ages_parse_as_people_write_them() {
        for (text, expected) in [
            ("30d", 30 * 86_400),
            ("12h", 43_200),
            ("90m", 5_400),
            ("90s", 90),
            ("1w", 604_800),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(expected)),
                "{text}"
            );
        }
        for text in ["", "30", "d", "-1d", "1y", "1D", "30days"] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::Duration(text.to_owned()))
            );
        }
        for text in ["99999999999999999999d", "18446744073709551615w"] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::TooLarge(text.to_owned()))
            );
        }
    }

    #[test]
    fn sizes_print_with_decimal_units() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_549, "1.5 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (20 << 30, "21.5 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(display_bytes(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn times_print_in_their_largest_unit() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7_199, "1 h"),
            (200_000, "2 d"),
        ] {
            assert_eq!(display_duration(Duration::from_secs(seconds)), expected);
        }
    }
}
