//! Why a file does not count as complete: a crash, a power cut or a full disk cut it short.

use std::fmt;
use std::fs::File;
use std::io;

use super::completeness::{Completeness, check};
use super::kind::{is_image_or_video, read_head};
use crate::spool::WriteState;

/// Text under which earlier versions stored [`IncompleteReason::Shorter`] in the journal.
const FORMER_SHORTER_TEXT: &str =
    "incomplete: it is shorter than it was; copy it again, or `heirloom retry` it as it is";

/// Reason for which a file is not backed up as it is. Its text is for the owner, and is stored in
/// the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IncompleteReason {
    /// Its write state says so.
    WriteState(WriteState),
    /// Its format says that bytes are missing at the end.
    Truncated,
    /// It was complete with more bytes before, and its format does not say where it ends.
    Shorter,
}

impl IncompleteReason {
    /// Looks for the end of a file that has no write state. Returns `fallback` if its format does
    /// not tell. A file that is neither image nor video may have any length, but not lose all of
    /// it.
    pub(super) fn of_content(
        file: &File,
        size: u64,
        fallback: Option<Self>,
    ) -> io::Result<Option<Self>> {
        if size > 0 && !is_image_or_video(&read_head(file)?) {
            return Ok(None);
        }
        Ok(match check(file, size)? {
            Completeness::Complete => None,
            Completeness::Truncated => Some(Self::Truncated),
            Completeness::Unknown => fallback,
        })
    }

    /// Whether this text was stored for a file that was shorter than before.
    pub(super) fn is_shorter(text: &str) -> bool {
        text == FORMER_SHORTER_TEXT || text == Self::Shorter.to_string()
    }
}

impl fmt::Display for IncompleteReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::WriteState(state) => return state.fmt(formatter),
            Self::Truncated => "file is truncated",
            Self::Shorter => "file is shorter than before",
        };
        write!(
            formatter,
            "incomplete: {what}; copy it again, or run `heirloom retry` to back it up as it is"
        )
    }
}
