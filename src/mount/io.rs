//! I/O of open files: which process reads and writes them, files created ahead, and which files are being
//! written.

pub(super) mod passthrough;
pub(super) mod spare_pool;
pub(super) mod backing;
pub(super) mod write_tracking;
