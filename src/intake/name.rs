//! Names of files that are not to be backed up, or not yet: temporary and hidden files.
//!
//! Programs write a photo under a temporary name and rename it when it is complete; to upload it
//! earlier would send bytes that nobody meant to keep, under a name that is gone a moment later.
//! Hidden files belong to programs (thumbnails, locks, trash). Both are scanned again when they are
//! renamed.

use heirloom_protocol::LibraryPath;

use super::skip_reason::SkipReason;

/// Suffixes of names that a program will rename once the content is complete: Firefox and KDE,
/// Edge, Chrome, exiftool.
const TEMPORARY_SUFFIXES: [&str; 4] = [".part", ".partial", ".crdownload", "_exiftool_tmp"];

/// Prefixes of names that vanish or are renamed: office owner files, `GLib` and `LibreOffice`
/// saves, NFS and FUSE leftovers.
const TEMPORARY_PREFIXES: [&str; 5] = ["~$", ".goutputstream-", ".~lock", ".nfs", ".fuse_hidden"];

/// rsync writes `name` as `.name.XXXXXX`, six letters and digits as `mkstemp(3)` chooses them.
const RSYNC_RANDOM_LETTERS: usize = 6;

/// Why a file of this name is not backed up, whatever its content; `None` if the content decides.
pub(super) fn skip_reason_for_name(path: &LibraryPath) -> Option<SkipReason> {
    let name = path.name();
    if is_temporary(name) {
        return Some(SkipReason::TemporaryName);
    }
    // Any folder above it counts: `.Trash-1000/files/a.jpg` is hidden although `a.jpg` is not.
    path.as_str()
        .split('/')
        .any(|name| name.starts_with('.'))
        .then_some(SkipReason::Hidden)
}

fn is_temporary(name: &str) -> bool {
    TEMPORARY_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || TEMPORARY_SUFFIXES
            .iter()
            .any(|suffix| name.ends_with(suffix))
        || is_rsync_temporary(name)
}

fn is_rsync_temporary(name: &str) -> bool {
    let Some((stem, random)) = name
        .strip_prefix('.')
        .and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    !stem.is_empty()
        && random.len() == RSYNC_RANDOM_LETTERS
        && random.bytes().all(|it| it.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &str) -> Option<SkipReason> {
        skip_reason_for_name(&LibraryPath::new(path).unwrap())
    }

    #[test]
    fn temporary_names_are_skipped() {
        for path in [
            ".goutputstream-A1B2C3",
            "2024/.goutputstream-Z",
            ".IMG_0001.JPG.Ab3dE9",
            "trip/.a.jpg.000000",
            "IMG.jpg.part",
            "IMG.jpg.partial",
            "IMG.jpg.crdownload",
            ".~lock.IMG.jpg#",
            "IMG.jpg_exiftool_tmp",
            "~$photo.jpg",
            ".nfs000000001234",
            ".fuse_hidden00000001",
        ] {
            assert_eq!(reason(path), Some(SkipReason::TemporaryName), "{path}");
        }
    }

    #[test]
    fn hidden_files_and_files_in_hidden_folders_are_skipped() {
        for path in [
            ".hidden.jpg",
            ".Trash-1000/files/a.jpg",
            "a/.thumbnails/b.png",
            ".dir/sub/c.jpg",
            ".a.jpg.short",
        ] {
            assert_eq!(reason(path), Some(SkipReason::Hidden), "{path}");
        }
    }

    #[test]
    fn names_of_photos_are_not_taken_for_temporary_or_hidden() {
        for path in [
            "IMG_0001.JPG",
            "part.jpg",
            "a.part.jpg",
            "party",
            "~photo.jpg",
            "a..b.jpg",
            "IMG.abc123",
            "downloads.partial/a.jpg",
            "exiftool_tmp.jpg",
            "é/美.heic",
        ] {
            assert_eq!(reason(path), None, "{path}");
        }
    }
}
