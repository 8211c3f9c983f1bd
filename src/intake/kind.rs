//! The kind of a file by its first bytes, and whether files of that kind are backed up.
//!
//! Names do not count: cameras, messengers and downloads name files as they please, and a text file
//! called `IMG.jpg` is no photo. Sidecars are the exception: `.xmp`, `.aae` and `.json` are plain
//! text with no first bytes of their own.
//!
//! The crate `infer` knows JPEG, JPEG XL, Matroska, AVI, ASF, FLV, MPEG and `QuickTime` well and is
//! asked for these. The rest is in our own tables (`kind/image.rs`, `kind/video.rs`), because
//! `infer` takes every text that begins with `BM` for a bitmap and `GIF` for a picture, any `WEBP`
//! at the right place without its RIFF, knows no `BigTIFF` and no camera raw but CR2, and looks for
//! `heic` alone in files of the general brand `mif1`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::LibraryPath;

use super::skip_reason::SkipReason;
use crate::config::Accept;

mod image;
mod video;
mod isobmff;
#[cfg(test)]
mod tests;

/// First bytes that are enough to tell a file's kind: Matroska names its kind within 256, a
/// transport stream shows three packets in 512.
pub const HEAD_BYTES: usize = 512;

/// File name suffixes of sidecars, in lower case: edits by Lightroom and darktable, by Apple, and
/// Google Takeout's.
const SIDECAR_SUFFIXES: [&str; 3] = [".xmp", ".aae", ".json"];

/// Why a file of at least one byte is not backed up under `accept`, by its first bytes (up to
/// [`HEAD_BYTES`] of them); `None` if it is backed up.
pub(super) fn skip_reason_for_content(
    accept: Accept,
    path: &LibraryPath,
    head: &[u8],
) -> Option<SkipReason> {
    match accept {
        Accept::All => None,
        Accept::Images => (!image::is_image(head)).then_some(SkipReason::NotAnImage),
        Accept::Media => {
            (!(is_image_or_video(head) || is_sidecar(path))).then_some(SkipReason::NotMedia)
        }
    }
}

/// Whether these are the first bytes of an image or a video.
pub(super) fn is_image_or_video(head: &[u8]) -> bool {
    image::is_image(head) || video::is_video(head)
}

/// Whether `reason`, recorded earlier for a file that has a photo's name now, still holds under
/// `accept`, which its owner may have changed.
pub(super) fn is_still_skipped(accept: Accept, reason: SkipReason) -> bool {
    match reason {
        // Its name was the reason, and has changed since.
        SkipReason::TemporaryName | SkipReason::Hidden => false,
        SkipReason::Empty => true,
        SkipReason::NotAnImage => accept == Accept::Images,
        SkipReason::NotMedia => accept == Accept::Media,
    }
}

/// Whether a file is a sidecar by its name.
pub(super) fn is_sidecar(path: &LibraryPath) -> bool {
    let name = path.name().to_ascii_lowercase();
    SIDECAR_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The first bytes of a file, as many as tell its kind.
pub(super) fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let (mut head, mut length) = (vec![0; HEAD_BYTES], 0);
    while length < head.len() {
        match file.read_at(&mut head[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(length);
    Ok(head)
}
