//! I/O of open files: who reads and writes them, files created ahead, and which files are being
//! written.

pub(super) mod passthrough;
pub(super) mod spare_pool;
pub(super) mod backing;
pub(super) mod write_tracking;
