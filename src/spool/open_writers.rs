//! Probe for other users of a file: whether any process has it open for writing, or open at all,
//! through whatever mount. A memory mapping counts as long as it exists, also after its descriptor
//! was closed.
//!
//! The probe asks the kernel for a lease (`F_SETLEASE` in fcntl(2)): it grants no read lease while
//! a process can write, and no write lease while another process has the file open. A granted lease
//! is released at once; only the answer matters.
#![expect(unsafe_code, reason = "fcntl has no safe wrapper for leases")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

/// Linux's number of the command that chooses a signal; the libc crate does not have it everywhere.
const F_SETSIG: libc::c_int = 10;

/// Whether other users of a file kept the kernel from granting a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriterProbe {
    /// There are none.
    None,
    /// There is at least one.
    Some,
    /// The file system, or the file's owner, does not allow leases.
    Unknown,
}

/// Whether any process can write to a file, which must be open here for reading only. A program
/// that opens it for writing during the probe waits for its end, or, if it does not wait
/// (`O_NONBLOCK`), gets `EAGAIN`.
pub(super) fn probe_writers(file: &File) -> io::Result<WriterProbe> {
    conflicting(file, libc::F_RDLCK)
}

/// Whether any other process has a file, which is open for writing here, open or mapped. `false` if
/// the file system does not allow leases.
pub fn is_open_elsewhere(file: &File) -> io::Result<bool> {
    Ok(conflicting(file, libc::F_WRLCK)? == WriterProbe::Some)
}

fn conflicting(file: &File, lease: libc::c_int) -> io::Result<WriterProbe> {
    // Breaking the lease sends its holder a signal. SIGURG is ignored by default; SIGIO would end
    // the process.
    control(file, F_SETSIG, libc::SIGURG)?;
    match control(file, libc::F_SETLEASE, lease) {
        Ok(_) => {
            control(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(WriterProbe::None)
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Ok(WriterProbe::Some),
            Some(Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(WriterProbe::Unknown),
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
    fn opening_a_file_during_a_probe_succeeds() {
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
