//! Why a request to the server failed. Decide by the error's methods; its text is for people.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use heirloom_protocol::{ErrorCode, Problem};

use heirloom_support::error_chain::display_chain;

/// The source of an error that another crate made.
pub(super) type BoxedError = Box<dyn StdError + Send + Sync>;

/// Why a request to the server failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The server does not accept our token, or not any more.
    #[error("login needed: the server rejects the token")]
    LoginNeeded,
    /// The server, or a proxy in front of it, refused the request.
    #[error("the server refused: {problem}")]
    Refused {
        /// The reason, with a code to decide by.
        problem: Problem,
        /// How long the server asked us to wait (`Retry-After`, RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
    },
    /// No connection could be made.
    #[error("cannot reach {server}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// The cause.
        #[source]
        source: BoxedError,
    },
    /// The server did not present a certificate that we trust.
    #[error("the identity of {server} could not be verified")]
    Untrusted {
        /// Host and port.
        server: String,
        /// The error of the certificate check, or of the handshake.
        #[source]
        source: BoxedError,
    },
    /// The connection broke before the response was complete.
    #[error("the connection broke while trying to {doing}")]
    Interrupted {
        /// What the request was to do.
        doing: &'static str,
        /// The cause.
        #[source]
        source: BoxedError,
    },
    /// No byte moved within the time limit.
    #[error("no response for {limit_s} seconds while trying to {doing}")]
    TimedOut {
        /// What the request was to do.
        doing: &'static str,
        /// The time limit, in seconds.
        limit_s: u64,
    },
    /// The response is not a Heirloom server's: a proxy's page, a redirect, garbage.
    #[error("unexpected response while trying to {doing}: {why}")]
    Malformed {
        /// What the request was to do.
        doing: &'static str,
        /// What is wrong with the response.
        why: String,
    },
    /// The request could not be built; a bug.
    #[error("could not build the request to {doing}")]
    InvalidRequest {
        /// What the request was to do.
        doing: &'static str,
        /// The cause.
        #[source]
        source: BoxedError,
    },
    /// The file of certificate authorities cannot be used.
    #[error("cannot read certificate authorities from {file:?}")]
    CaFile {
        /// The file of `--ca-file`.
        file: PathBuf,
        /// The cause.
        #[source]
        source: BoxedError,
    },
    /// The system's certificate authorities cannot be used.
    #[error("cannot read the system's certificate authorities")]
    SystemRoots(#[source] io::Error),
}

impl RemoteError {
    /// Whether the same request may succeed later, unchanged: what was sent is not at fault.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::LoginNeeded
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. } => true,
            Self::Refused { problem, .. } => problem.code.is_transient(),
            Self::InvalidRequest { .. } | Self::CaFile { .. } | Self::SystemRoots(_) => false,
        }
    }

    /// Whether the server rejects a form that no request of ours has: something on the way changed
    /// the request. (A bug of ours would look the same and cost an attempt every few minutes, which
    /// is better than giving up a photo because of the network.)
    pub fn is_corrupted_in_transit(&self) -> bool {
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

    /// Whether the server cannot be reached, as far as this request could tell.
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
            | Self::CaFile { .. }
            | Self::SystemRoots(_) => false,
        }
    }

    /// Whether the server asks every client to wait: it is stopping, overloaded or full.
    pub fn is_server_wide(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::Unavailable | ErrorCode::TooManyRequests | ErrorCode::StorageFull)
        )
    }

    /// Whether the connection failed after the request was sent: the same request may succeed on a
    /// new one.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::TimedOut { .. })
    }

    /// How long the server asked us to wait, if it did.
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
            | Self::CaFile { .. }
            | Self::SystemRoots(_) => None,
        }
    }

    /// The code of a refusal; nothing for other errors.
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
            | Self::CaFile { .. }
            | Self::SystemRoots(_) => None,
        }
    }

    /// The message with all its sources: one line for the person.
    pub fn chain(&self) -> String {
        display_chain(self)
    }
}
