//! What can go wrong between here and the server. ApiRequest the error what it means; its text is for
//! people.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use heirloom_protocol::{ErrorCode, Problem};

use heirloom_support::error_chain::display_chain;

/// The source of an error that another crate made.
pub(super) type Source = Box<dyn StdError + Send + Sync>;

/// Why a request to the server has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server does not know our token (any more).
    #[error("login needed")]
    LoginNeeded,
    /// The server, or something in front of it, refused.
    #[error("the server refused: {problem}")]
    Refused {
        /// Why, with a code to decide by.
        problem: Problem,
        /// How long it asked us to wait (`Retry-After`, RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
    },
    /// No connection came about.
    #[error("cannot reach {server}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why not.
        #[source]
        source: Source,
    },
    /// Somebody answered who could not show a certificate that we trust.
    #[error("the identity of {server} could not be verified")]
    Untrusted {
        /// Host and port.
        server: String,
        /// What was wrong with the certificate, or with the handshake.
        #[source]
        source: Source,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection broke while trying to {doing}")]
    Interrupted {
        /// What was asked.
        doing: &'static str,
        /// How it broke.
        #[source]
        source: Source,
    },
    /// Nothing moved for so long that we stopped waiting.
    #[error("no answer for {limit_s} seconds while trying to {doing}")]
    TimedOut {
        /// What was asked.
        doing: &'static str,
        /// How long nothing moved.
        limit_s: u64,
    },
    /// The answer is not one that a Heirloom server gives: a proxy's page, a redirect, garbage.
    #[error("the answer made no sense while trying to {doing}: {why}")]
    Malformed {
        /// What was asked.
        doing: &'static str,
        /// What was wrong with the answer.
        why: String,
    },
    /// A question could not be put into words; a fault of ours.
    #[error("cannot put the request to {doing} into words")]
    InvalidRequest {
        /// What was to be asked.
        doing: &'static str,
        /// Why not.
        #[source]
        source: Source,
    },
    /// The file of certificate authorities is of no use.
    #[error("read certificate authorities from {file:?}")]
    Authorities {
        /// The file of `--ca-file`.
        file: PathBuf,
        /// Why not.
        #[source]
        source: Source,
    },
    /// The system has no certificate authorities to trust.
    #[error("find the system's certificate authorities")]
    NoAuthorities(#[source] io::Error),
}

impl RemoteError {
    /// Whether the same request may succeed later without anybody changing it: not the fault of
    /// what was sent.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::LoginNeeded
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. } => true,
            Self::Refused { problem, .. } => problem.code.is_transient(),
            Self::InvalidRequest { .. } | Self::Authorities { .. } | Self::NoAuthorities(_) => {
                false
            }
        }
    }

    /// Whether the server complains of a form that no request of ours has: something on the way
    /// changed it. (A fault of ours would look the same, and costs an attempt every few minutes
    /// then, which is better than a photo given up for what a network did.)
    pub fn arrived_damaged(&self) -> bool {
        match self.code() {
            Some(
                ErrorCode::MalformedRequest
                | ErrorCode::MalformedBody
                | ErrorCode::MalformedFingerprint
                | ErrorCode::MethodNotAllowed
                | ErrorCode::NotFound
                | ErrorCode::UnsupportedMediaType
                | ErrorCode::LengthRequired
                | ErrorCode::EmptyShard
                | ErrorCode::ShardOutOfBounds
                | ErrorCode::LengthMismatch
                | ErrorCode::DigestMissing
                | ErrorCode::DigestMismatch
                | ErrorCode::FingerprintMismatch,
            ) => true,
            Some(
                ErrorCode::LoginNeeded
                | ErrorCode::LoginRefused
                | ErrorCode::ScopeTooNarrow
                | ErrorCode::MalformedPath
                | ErrorCode::BodyTooLarge
                | ErrorCode::BatchTooLarge
                | ErrorCode::ImageTooLarge
                | ErrorCode::RangeNotSatisfiable
                | ErrorCode::RequestTimeout
                | ErrorCode::ImageNotHeld
                | ErrorCode::TooManyRequests
                | ErrorCode::StorageFull
                | ErrorCode::QuotaExceeded
                | ErrorCode::Unavailable
                | ErrorCode::Internal,
            )
            | None => false,
        }
    }

    /// Whether there is no server to speak to, as far as this request could tell.
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. } => true,
            Self::LoginNeeded
            | Self::Refused { .. }
            | Self::InvalidRequest { .. }
            | Self::Authorities { .. }
            | Self::NoAuthorities(_) => false,
        }
    }

    /// Whether the server asks everybody to wait: it is stopping, overloaded or full.
    pub fn is_server_wide(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::Unavailable | ErrorCode::TooManyRequests | ErrorCode::StorageFull)
        )
    }

    /// Whether the request left and then the connection was no good: the same again may get
    /// through.
    pub fn broke_under_way(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::TimedOut { .. })
    }

    /// How long the server asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::LoginNeeded
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. }
            | Self::InvalidRequest { .. }
            | Self::Authorities { .. }
            | Self::NoAuthorities(_) => None,
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::LoginNeeded => Some(ErrorCode::LoginNeeded),
            Self::Refused { problem, .. } => Some(problem.code),
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. }
            | Self::InvalidRequest { .. }
            | Self::Authorities { .. }
            | Self::NoAuthorities(_) => None,
        }
    }

    /// The message with all its sources: one line for the person.
    pub fn chain(&self) -> String {
        display_chain(self)
    }
}
