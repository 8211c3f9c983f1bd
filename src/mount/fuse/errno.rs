//! The errno of every error: the one place where it is chosen.

use std::io;

use fuser::Errno;

use crate::fetch::FetchError;
use crate::mount::types::TreeError;

/// The errno of an error. No wildcard: a new error does not compile until its errno is chosen.
pub(super) fn errno(error: &TreeError) -> Errno {
    match error {
        TreeError::NameNotUtf8 => Errno::EILSEQ,
        TreeError::NameTooLong => Errno::ENAMETOOLONG,
        TreeError::InvalidName | TreeError::InvalidArgument => Errno::EINVAL,
        TreeError::Removed(_) => Errno::ENOENT,
        TreeError::Stale(_) => Errno::ESTALE,
        TreeError::BadHandle(_) => Errno::EBADF,
        TreeError::HardLinkUnsupported
        | TreeError::SpecialFileUnsupported
        | TreeError::ReservedXattr => Errno::EPERM,
        TreeError::UnsupportedXattr => Errno::EOPNOTSUPP,
        TreeError::NoXattr => Errno::ENODATA,
        // The adapter fetches and runs the request again, so no program gets the first.
        TreeError::NeedsFetch(_) | TreeError::NoFetcher => Errno::EIO,
        TreeError::Fetch(error) => match error {
            FetchError::Timeout { .. }
            | FetchError::Refused(_)
            | FetchError::Corrupt
            | FetchError::Unmounting => Errno::EIO,
            FetchError::Discarded => Errno::ESTALE,
            FetchError::Killed => Errno::EINTR,
            FetchError::Disk { source, .. } => disk_errno(source),
        },
        TreeError::Spool(error) => disk_errno(&error.source),
        TreeError::OpenFile { source, .. } => disk_errno(source),
    }
}

/// The disk's own errno, unchanged: "disk full" must reach the program as that. Only ENOSYS is not
/// passed on: the kernel would take it to mean that the mount never supports the operation.
fn disk_errno(error: &io::Error) -> Errno {
    match error.raw_os_error().map_or(Errno::EIO, Errno::from_i32) {
        Errno::ENOSYS => Errno::EOPNOTSUPP,
        errno => errno,
    }
}

/// Whether an errno means that the disk is in trouble, which its owner should find in the log.
pub(super) fn is_disk_trouble(errno: Errno) -> bool {
    [
        Errno::EIO,
        Errno::ENOSPC,
        Errno::EDQUOT,
        Errno::EROFS,
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOMEM,
    ]
    .contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_reads_as_a_full_disk() {
        let source = io::Error::from_raw_os_error(Errno::ENOSPC.code());
        let errno = errno(&TreeError::OpenFile {
            doing: "write",
            source,
        });
        assert_eq!(errno, Errno::ENOSPC);
        assert!(is_disk_trouble(errno));
    }

    #[test]
    fn no_answer_makes_the_kernel_give_up_on_an_operation() {
        let source = io::Error::from_raw_os_error(Errno::ENOSYS.code());
        assert_eq!(
            errno(&TreeError::OpenFile {
                doing: "copy",
                source
            }),
            Errno::EOPNOTSUPP
        );
        assert_eq!(errno(&TreeError::NoXattr), Errno::ENODATA);
    }

    #[test]
    fn an_error_without_a_number_is_an_input_output_error() {
        let source = io::Error::other("no number");
        assert_eq!(
            errno(&TreeError::OpenFile {
                doing: "read",
                source
            }),
            Errno::EIO
        );
    }
}
