//! *Kind*: what a file is by its first bytes, and whether files of that kind are backed up.
//!
//! Never by its name: cameras, messengers and downloads name files as they please, and a text file
//! called `IMG.jpg` is no photo. Sidecars are the exception: `.xmp`, `.aae` and `.json` are plain
//! text with no first bytes of their own.
//!
//! The crate `infer` knows JPEG, JPEG XL, Matroska, AVI, ASF, FLV, MPEG and `QuickTime` well and is
//! asked for these. The rest is in our own tables (`kind/image.rs`, `kind/video.rs`), because
//! `infer` takes every text that begins with `BM` for a bitmap and `GIF` for a picture, any `WEBP`
//! at the right place without its RIFF, knows no `BigTIFF` and no camera raw but CR2, and looks for
//! `heic` alone in files of the general brand `mif1`.

use std::fmt;

use heirloom_protocol::LibraryPath;

use crate::config::Accept;

mod image;
mod iso;
#[cfg(test)]
mod tests;
mod video;

/// So many first bytes are looked at: Matroska names its kind within 256, a transport stream shows
/// three packets in 512.
pub const HEAD_BYTES: usize = 512;

/// File name endings of sidecars, in lower case: edits by Lightroom and darktable, by Apple, and
/// Google Takeout's.
const SIDECAR_ENDS: [&str; 3] = [".xmp", ".aae", ".json"];

/// Why a file stays where it is and is not backed up. Its text is for the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It will be renamed, or deleted, by the program that writes it.
    TemporaryName,
    /// It, or a folder it is in, begins with a dot.
    Hidden,
    /// There is nothing to keep.
    Empty,
    /// Only images are backed up, and this is none.
    NoImage,
    /// Only photos, videos and their sidecars are backed up, and this is none.
    NoMedia,
}

impl Left {
    const ALL: [Self; 5] = [
        Self::TemporaryName,
        Self::Hidden,
        Self::Empty,
        Self::NoImage,
        Self::NoMedia,
    ];

    /// The reason that was written down as these words.
    pub(super) fn said(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|left| left.words() == words)
    }

    /// Whether the name was the reason.
    pub(super) const fn is_by_name(self) -> bool {
        match self {
            Self::TemporaryName | Self::Hidden => true,
            Self::Empty | Self::NoImage | Self::NoMedia => false,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::TemporaryName => "temporary name",
            Self::Hidden => "hidden file",
            Self::Empty => "empty file",
            Self::NoImage => "not an image",
            Self::NoMedia => "not a photo, video or sidecar",
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.words())
    }
}

/// What a file of at least one byte is left for under `accept`, if it is left: by its first bytes
/// (up to
/// [`HEAD_BYTES`] of them).
pub(super) fn left_by_kind(accept: Accept, path: &LibraryPath, head: &[u8]) -> Option<Left> {
    match accept {
        Accept::All => None,
        Accept::Images => (!image::is_image(head)).then_some(Left::NoImage),
        Accept::Media => (!(is_picture(head) || is_sidecar(path))).then_some(Left::NoMedia),
    }
}

/// Whether these are the first bytes of an image or a video.
pub(super) fn is_picture(head: &[u8]) -> bool {
    image::is_image(head) || video::is_video(head)
}

/// Whether `left`, said earlier of a file that has a photo's name now, would be said of it under
/// `accept` too: the person may have changed that.
pub(super) fn still_left(accept: Accept, left: Left) -> bool {
    match left {
        // By its name: that is another today.
        Left::TemporaryName | Left::Hidden => false,
        Left::Empty => true,
        Left::NoImage => accept == Accept::Images,
        Left::NoMedia => accept == Accept::Media,
    }
}

/// Whether the name alone makes it a sidecar.
pub(super) fn is_sidecar(path: &LibraryPath) -> bool {
    let name = path.name().to_ascii_lowercase();
    SIDECAR_ENDS.iter().any(|end| name.ends_with(end))
}
