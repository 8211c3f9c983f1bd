//! The running house: every room started in order, and stopped in the opposite one.
//!
//! Kernel requests are answered on plain threads, the network lives on a small tokio runtime; this
//! room owns both and is the only one that knows all the others.

mod detach;
mod embedded;
mod house;
mod memory;
mod open_files;

pub use detach::{DetachError, detach, report_failure, report_ready};
pub use embedded::{EmbeddedError, Reached, was_used};
pub use house::{House, HouseError, Plan, ServerChoice};
