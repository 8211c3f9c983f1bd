//! What other processes may ask the running house.
//!
//! The journal is locked by the daemon, so the command line cannot look for itself: it asks, in
//! HTTP with JSON, over a Unix socket in the state directory. Whoever may enter that directory
//! (its owner) may ask; there is no other check.

mod answer;
mod ask;
mod message;
mod retrying;
mod room;
mod verifying;

pub use answer::{Control, Desk};
pub use ask::{AskError, Asker};
pub use message::{
    Amounts, CopyHere, CopyThere, FailingFile, FileReport, FreeAnswer, FreeRequest, KeyChoice,
    KeyStanding, PinRequest, RecallReport, RetryAnswer, RetryRequest, SavedBytes, Status,
    UnmountAnswer, VERIFIED_AT_ONCE, VerifiedFile, VerifyAnswer, VerifyRequest, WaitAnswer,
    WaitRequest, Witness,
};
