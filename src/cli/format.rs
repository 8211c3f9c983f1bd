//! Numbers as people read them.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::journal::Amount;
use crate::mount::IoPath;

/// `1 photo`, `2 photos`: files, with what they are called here.
pub(super) fn files(count: u64) -> String {
    if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    }
}

/// Bytes with a decimal unit: `516.2 MB`.
pub(super) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// `3 files, 6.1 MB`.
pub(super) fn amount(amount: Amount) -> String {
    format!("{}, {}", files(amount.files), bytes(amount.bytes))
}

/// How files are read and written, after those format.
pub(super) fn io_path(path: IoPath) -> &'static str {
    match path {
        IoPath::Passthrough => "by the kernel itself (passthrough)",
        IoPath::Direct => "through this program (direct)",
    }
}

/// A length of time in its largest unit: `3 d`, `12 h`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let largest = units.into_iter().find(|(length, _)| seconds >= *length);
    largest.map_or_else(
        || format!("{seconds} s"),
        |(length, name)| format!("{} {name}", seconds / length),
    )
}

/// An age in seconds, as people write it.
pub(super) fn seconds(text: &str) -> anyhow::Result<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => bail!("an age is a number and s, m, h, d or w, such as 30d"),
    };
    let number: u64 = digits
        .parse()
        .context("an age begins with a number, such as 30d")?;
    number
        .checked_mul(unit)
        .context("that is longer than anybody remembers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_people_write_them() {
        for (text, expected) in [
            ("30d", 30 * 86_400),
            ("12h", 43_200),
            ("90m", 5_400),
            ("1w", 604_800),
            ("0s", 0),
        ] {
            assert_eq!(seconds(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "30",
            "d",
            "-1d",
            "1y",
            "99999999999999999999d",
            "18446744073709551615w",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
