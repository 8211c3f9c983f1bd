//! Numbers and options as text for people.

use heirloom_support::units::display_bytes;

use crate::journal::Amount;
use crate::mount::IoPath;

/// A number of files: `1 file`, `2 files`.
pub(super) fn files(count: u64) -> String {
    counted(count, "file")
}

/// A number and a noun in the right form: `1 name`, `2 names`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// A number of files and their size: `3 files, 6.1 MB`.
pub(super) fn amount(amount: Amount) -> String {
    format!("{}, {}", files(amount.files), display_bytes(amount.bytes))
}

/// How reads and writes of open files reach the disk, as a sentence.
pub(super) fn io_path(path: IoPath) -> &'static str {
    match path {
        IoPath::Passthrough => "the kernel reads and writes files itself (passthrough)",
        IoPath::Direct => "reads and writes of files go through this program (direct)",
    }
}
