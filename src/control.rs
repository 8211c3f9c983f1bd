//! The control socket: what other processes may ask the daemon of a mount.
//!
//! The daemon holds the journal's lock, so the command line cannot read the journal itself. It asks
//! the daemon instead, in HTTP with JSON over a Unix socket in the state directory. Access to that
//! directory (mode 0700) is the only permission check.
//!
//! The modules, from the top layer down; a module names only modules below it:

mod server;
mod unmount;
mod retry;
mod space;
mod verify;
mod wait;
mod status;
mod error;
mod context;
mod client;
mod message;

pub use client::{ControlClient, ControlError};
pub use context::ControlState;
pub use message::{
    FailingFile, FetchReport, FileReport, FreeRequest, FreeResponse, KeyChoice, KeyComparison,
    LocalCopy, MountStatus, PinRequest, ReceiptCheck, RetryRequest, RetryResponse, SavedBytes,
    ServerCopy, StateTotals, UnmountResponse, VERIFY_FILES_MAX, VerifiedFile, VerifyRequest,
    VerifyResponse, WaitRequest, WaitResponse,
};
pub use server::ControlServer;
