//! Small tools that the client and the server share and that no protocol message needs.
//!
//! The modules, from the top layer down; a module names only modules below it:

/// Disk space set aside for starting on a full disk.
pub mod disk_reserve;
/// Private files, replaced as a whole.
pub mod file;
/// Waits between tries.
pub mod backoff;
/// Sizes and ages as people write and read them.
pub mod units;
/// Variable-length numbers in stored bytes.
pub mod leb128;
/// Whether an address is this machine's own.
pub mod loopback;
/// An error's message with its causes, in one line.
pub mod error_chain;
