//! Numbers as people read them.

use crate::journal::Amount;
use crate::mount::IoPath;

/// `1 photo`, `2 photos`: files, with what they are called here.
pub(super) fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Bytes with a decimal unit: `516.2 MB`.
pub(super) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// `3 files, 6.1 MB`.
pub(super) fn amount(amount: Amount) -> String {
    format!("{}, {}", files(amount.files), bytes(amount.bytes))
}

/// How files are read and written, after those words.
pub(super) fn io_path(path: IoPath) -> &'static str {
    match path {
        IoPath::Passthrough => "by the kernel itself (passthrough)",
        IoPath::Direct => "through this program (direct)",
    }
}
