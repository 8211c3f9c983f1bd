//! The daemon of one mount: starts every service in order, and stops them in reverse order.
//!
//! Kernel requests are answered on plain threads; the network side runs on a small tokio runtime.
//! This module owns both and is the only one that knows all the services.
//!
//! The modules, from the top layer down; a module names only modules below it:

mod services;
mod running_server;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(not(feature = "embedded"))]
#[path = "daemon/embedded_missing.rs"]
mod embedded;
mod server_choice;
mod detach;
mod allocator;
mod open_file_limit;

pub use detach::{DetachError, detach, report_failure, report_ready};
pub use embedded::EmbeddedError;
pub use running_server::RunningServer;
pub use server_choice::{ServerChoice, was_used};
pub use services::{MountConfig, Services, ServicesError};
