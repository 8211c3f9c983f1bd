//! What other processes may ask the running house.
//!
//! The journal is locked by the daemon, so the command line cannot look for itself: it asks, in
//! HTTP with JSON, over a Unix socket in the state directory. Whoever may enter that directory
//! (its owner) may ask; there is no other check.

mod server;
mod client;
mod message;
mod retry;
mod space;
mod verify;

pub use client::{ControlClient, ControlError};
pub use message::{
    FailingFile, FetchReport, FileReport, FreeRequest, FreeResponse, KeyChoice, KeyComparison,
    LocalCopy, MountStatus, PinRequest, ReceiptCheck, RetryRequest, RetryResponse, SavedBytes,
    ServerCopy, StateTotals, UnmountResponse, VERIFY_FILES_MAX, VerifiedFile, VerifyRequest,
    VerifyResponse, WaitRequest, WaitResponse,
};
pub use server::{ControlServer, ControlState};
