//! The answer of a completeness check.

/// Whether an image's own bytes say that it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::intake) enum Completeness {
    /// They say that nothing is missing.
    Complete,
    /// They say that more was to come.
    Truncated,
    /// The format does not tell, or is not known here.
    Unknown,
}
