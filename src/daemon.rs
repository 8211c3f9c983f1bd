//! The running house: every room started in order, and stopped in the opposite one.
//!
//! Kernel requests are answered on plain threads, the network lives on a small tokio runtime; this
//! room owns both and is the only one that knows all the others.

mod detach;
mod embedded;
mod services;
mod allocator;
mod open_file_limit;

pub use detach::{DetachError, detach, report_failure, report_ready};
pub use embedded::{EmbeddedError, RunningServer, was_used};
pub use services::{MountConfig, ServerChoice, Services, ServicesError};
