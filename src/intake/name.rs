//! *Name*: whether what a file is called says that it is not meant to be kept, or not yet.
//!
//! Programs write a photo under a temporary name and rename it when it is whole; to upload it
//! before would send bytes that nobody meant to keep, under a name that is gone a moment later.
//! Hidden files are a program's own affairs (thumbnails, locks, trash). Both are looked at again
//! when they are renamed.

use heirloom_protocol::LibraryPath;

use super::kind::Left;

/// How names end that a program will rename once the content is whole: Firefox and KDE, Edge,
/// Chrome, exiftool.
const TEMPORARY_ENDS: [&str; 4] = [".part", ".partial", ".crdownload", "_exiftool_tmp"];

/// How names begin that vanish or are renamed: office owner files, `GLib` and `LibreOffice` saves,
/// NFS and FUSE leftovers.
const TEMPORARY_BEGINNINGS: [&str; 5] = ["~$", ".goutputstream-", ".~lock", ".nfs", ".fuse_hidden"];

/// rsync writes `name` as `.name.XXXXXX`, six letters and digits as `mkstemp(3)` chooses them.
const RSYNC_RANDOM_LETTERS: usize = 6;

/// Why a file of this name stays where it is, whatever its content.
pub(super) fn left_alone(path: &LibraryPath) -> Option<Left> {
    let name = path.name();
    if is_temporary(name) {
        return Some(Left::TemporaryName);
    }
    // Any folder on the way counts: `.Trash-1000/files/a.jpg` is hidden although `a.jpg` is not.
    path.as_str()
        .split('/')
        .any(|name| name.starts_with('.'))
        .then_some(Left::Hidden)
}

fn is_temporary(name: &str) -> bool {
    TEMPORARY_BEGINNINGS
        .iter()
        .any(|beginning| name.starts_with(beginning))
        || TEMPORARY_ENDS.iter().any(|end| name.ends_with(end))
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

    fn judged(path: &str) -> Option<Left> {
        left_alone(&LibraryPath::new(path).unwrap())
    }

    #[test]
    fn temporary_names_are_left_alone() {
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
            assert_eq!(judged(path), Some(Left::TemporaryName), "{path}");
        }
    }

    #[test]
    fn hidden_files_are_left_alone_wherever_the_dot_stands() {
        for path in [
            ".hidden.jpg",
            ".Trash-1000/files/a.jpg",
            "a/.thumbnails/b.png",
            ".dir/sub/c.jpg",
            ".a.jpg.short",
        ] {
            assert_eq!(judged(path), Some(Left::Hidden), "{path}");
        }
    }

    #[test]
    fn names_of_photos_are_not_mistaken() {
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
            assert_eq!(judged(path), None, "{path}");
        }
    }
}
