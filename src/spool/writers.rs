//! Writers: whether anybody at all has a file open for writing, or open, in whatever process and
//! through whatever mount. A mapping counts as long as it lasts, also when its descriptor is
//! closed.
//!
//! The kernel tells it to who asks for a lease (`F_SETLEASE` in fcntl(2)): it grants none to read
//! while somebody can write, and none to write while anybody else has the file. The lease is given
//! back at once; it is never wanted, only the answer.
#![expect(unsafe_code, reason = "fcntl has no safe wrapper for leases")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

/// Linux's number of the command that chooses a signal; the libc crate does not have it everywhere.
const F_SETSIG: libc::c_int = 10;

/// Who else has a file now, so that a lease is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Nobody.
    None,
    /// Somebody.
    Some,
    /// This disk, or the file's owner, does not let us know.
    Unknown,
}

/// Asks; `file` must be open for reading only. Who opens the file for writing in the very moment of
/// asking waits for that moment, or, if they do not wait (`O_NONBLOCK`), is turned away with
/// `EAGAIN`.
pub(super) fn writers(file: &File) -> io::Result<Others> {
    conflicting(file, libc::F_RDLCK)
}

/// Whether anybody else has this file, which is open for writing here, open or mapped. No, if this
/// disk does not let us know.
pub fn is_open_elsewhere(file: &File) -> io::Result<bool> {
    Ok(conflicting(file, libc::F_WRLCK)? == Others::Some)
}

fn conflicting(file: &File, lease: libc::c_int) -> io::Result<Others> {
    // Whoever breaks the lease sends its holder a signal: this one is ignored unless somebody asks
    // for it, SIGIO would end us.
    control(file, F_SETSIG, libc::SIGURG)?;
    match control(file, libc::F_SETLEASE, lease) {
        Ok(_) => {
            control(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(Others::None)
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Ok(Others::Some),
            Some(Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(Others::Unknown),
            _ => Err(error),
        },
    }
}

fn control(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and these commands take a plain
    // number.
    let outcome = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if outcome == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use heirloom_protocol::LibraryPath;

    use super::*;
    use crate::spool::{Access, Durability, OpenOptions, Spool, SpoolError, reopen};

    /// How long the kernel may take to start another thread's call.
    const SOON: Duration = Duration::from_secs(20);

    /// Has a lease on `file` until the kernel wants it back for what `open` opens.
    fn opened_meanwhile(
        file: &File,
        lease: libc::c_int,
        open: impl FnOnce() -> Result<File, SpoolError> + Send,
    ) -> Result<File, SpoolError> {
        control(file, F_SETSIG, libc::SIGURG).unwrap();
        control(file, libc::F_SETLEASE, lease).unwrap();
        thread::scope(|scope| {
            let opening = scope.spawn(open);
            let until = Instant::now() + SOON;
            while control(file, libc::F_GETLEASE, 0).unwrap() == lease {
                assert!(Instant::now() < until, "nobody opens it");
                thread::yield_now();
            }
            control(file, libc::F_SETLEASE, libc::F_UNLCK).unwrap();
            opening.join().unwrap()
        })
    }

    #[test]
    fn who_opens_a_file_in_the_moment_of_asking_is_not_turned_away() {
        let home = tempfile::tempdir().unwrap();
        let (spool, path) = (
            Spool::open(home.path()).unwrap(),
            LibraryPath::new("photo.jpg").unwrap(),
        );
        let to = |access| OpenOptions {
            access,
            durability: Durability::Lazy,
        };
        drop(spool.create_file(&path, to(Access::Write), 0o600).unwrap());
        let asking = spool.open_read(&path).unwrap();
        opened_meanwhile(&asking, libc::F_RDLCK, || {
            spool.open_file(&path, to(Access::Write))
        })
        .unwrap();
        let again = || {
            reopen(&asking, to(Access::ReadWrite))
                .map_err(|error| SpoolError::of("reopen", &path, error))
        };
        opened_meanwhile(&asking, libc::F_RDLCK, again).unwrap();
        drop(asking);
        let emptying = spool.open_file(&path, to(Access::Write)).unwrap();
        opened_meanwhile(&emptying, libc::F_WRLCK, || spool.open_read(&path)).unwrap();
    }
}
