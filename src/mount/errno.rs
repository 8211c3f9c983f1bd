//! Errno: the one place where our reasons become the numbers that programs know.

use std::io;

use fuser::Errno;

use super::tree::TreeError;
use crate::fetch::FetchError;

/// The number for a reason. No wildcard: a new reason does not compile until somebody chose its
/// number.
pub(super) fn errno(error: &TreeError) -> Errno {
    match error {
        TreeError::NameNotUtf8 => Errno::EILSEQ,
        TreeError::NameTooLong => Errno::ENAMETOOLONG,
        TreeError::NameReserved | TreeError::UnknownFlag => Errno::EINVAL,
        TreeError::Removed(_) => Errno::ENOENT,
        TreeError::Stale(_) => Errno::ESTALE,
        TreeError::NotOpen(_) => Errno::EBADF,
        TreeError::HardLink | TreeError::SpecialFile | TreeError::AttributeIsOurs => Errno::EPERM,
        TreeError::AttributeNotKept => Errno::EOPNOTSUPP,
        TreeError::NoAttribute => Errno::ENODATA,
        // Fetched first, and asked again: nobody is told this.
        TreeError::Absent(_) | TreeError::OutOfReach => Errno::EIO,
        TreeError::Fetch(error) => match error {
            FetchError::Timeout { .. }
            | FetchError::Refused(_)
            | FetchError::Corrupt
            | FetchError::Unmounting => Errno::EIO,
            FetchError::Discarded => Errno::ESTALE,
            FetchError::Killed => Errno::EINTR,
            FetchError::Disk { source, .. } => told_by_the_disk(source),
        },
        TreeError::Spool(error) => told_by_the_disk(&error.source),
        TreeError::Open { source, .. } => told_by_the_disk(source),
    }
}

/// The disk's own number, unchanged: "disk full" must read as that. ENOSYS alone is not passed on,
/// because the kernel would take it as "this mount never can" and not ask again.
fn told_by_the_disk(error: &io::Error) -> Errno {
    match error.raw_os_error().map_or(Errno::EIO, Errno::from_i32) {
        Errno::ENOSYS => Errno::EOPNOTSUPP,
        errno => errno,
    }
}

/// Whether a number means that the disk is in trouble, which its owner should find in the log; the
/// rest is everyday life.
pub(super) fn is_trouble(errno: Errno) -> bool {
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
        let errno = errno(&TreeError::Open {
            doing: "write",
            source,
        });
        assert_eq!(errno, Errno::ENOSPC);
        assert!(is_trouble(errno));
    }

    #[test]
    fn no_answer_makes_the_kernel_give_up_on_an_operation() {
        let source = io::Error::from_raw_os_error(Errno::ENOSYS.code());
        assert_eq!(
            errno(&TreeError::Open {
                doing: "copy",
                source
            }),
            Errno::EOPNOTSUPP
        );
        assert_eq!(errno(&TreeError::NoAttribute), Errno::ENODATA);
    }

    #[test]
    fn an_error_without_a_number_is_an_input_output_error() {
        let source = io::Error::other("no number");
        assert_eq!(
            errno(&TreeError::Open {
                doing: "read",
                source
            }),
            Errno::EIO
        );
    }
}
