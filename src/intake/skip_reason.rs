//! Why a file is not backed up although it could be.

use std::fmt;

/// Reason for which a file stays local. Its text is for the owner, and is stored in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SkipReason {
    /// The program that writes the file will rename or delete it.
    TemporaryName,
    /// Its name, or that of a folder above it, begins with a dot.
    Hidden,
    /// It has no bytes.
    Empty,
    /// Only images are backed up, and it is none.
    NotAnImage,
    /// Only photos, videos and their sidecars are backed up, and it is none.
    NotMedia,
}

impl SkipReason {
    const ALL: [Self; 5] = [
        Self::TemporaryName,
        Self::Hidden,
        Self::Empty,
        Self::NotAnImage,
        Self::NotMedia,
    ];

    /// The reason that was stored as this text.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.text() == text)
    }

    /// Whether the file's name is the reason.
    pub(super) const fn is_by_name(self) -> bool {
        match self {
            Self::TemporaryName | Self::Hidden => true,
            Self::Empty | Self::NotAnImage | Self::NotMedia => false,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::TemporaryName => "temporary name",
            Self::Hidden => "hidden file",
            Self::Empty => "empty file",
            Self::NotAnImage => "not an image",
            Self::NotMedia => "not a photo, video or sidecar",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}
