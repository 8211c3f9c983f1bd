//! Lending files to the kernel, which then reads and writes them for programs without us (FUSE
//! passthrough).
//!
//! The kernel takes files only from who has `CAP_SYS_ADMIN` in the first user namespace. Where we
//! have it, we lend by ourselves; where we do not, a helper does (`heirloom-passthrough`, see
//! `lending/helper.rs`), if an administrator gave that program the one right it needs. What the
//! helper agrees to lend, and why no more than that, stands in
//! docs/decisions/0017-passthrough-helper.md.

mod errand;
mod helper;
mod kernel;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use errand::Errand;

pub use helper::serve;

/// The helper's program.
const HELPER: &str = "heirloom-passthrough";

/// One mount, to which files can be lent. Whoever keeps it keeps that mount's programs waiting for
/// answers.
#[derive(Debug)]
pub struct Lender {
    device: OwnedFd,
    errand: Option<Errand>,
}

impl Lender {
    /// Lends by ourselves: `EPERM` at the first file if we may not.
    pub fn by_ourselves(session: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            device: session.as_fd().try_clone_to_owned()?,
            errand: None,
        })
    }

    /// Lends through the helper, which stands beside this program, and is started with the first
    /// file.
    pub fn by_helper(session: impl AsFd) -> io::Result<Self> {
        let helper = std::env::current_exe()?.with_file_name(HELPER);
        Ok(Self {
            device: session.as_fd().try_clone_to_owned()?,
            errand: Some(Errand::new(helper)),
        })
    }

    /// Lends a file; its number, by which the kernel knows it from now on. `EPERM` without the
    /// right to lend, `ELOOP` if the file's disk is itself stacked on another; of the helper also
    /// `EACCES` for what it does not agree to lend, and `EMFILE` for one file too many.
    pub fn lend(&self, file: &File) -> io::Result<u32> {
        match &self.errand {
            None => kernel::lend(&self.device, file),
            Some(errand) => errand.lend(&self.device, file),
        }
    }

    /// Takes a file back. What is open of it stays as it is.
    pub fn take_back(&self, number: u32) -> io::Result<()> {
        match &self.errand {
            None => kernel::take_back(&self.device, number),
            Some(errand) => errand.take_back(&self.device, number),
        }
    }
}
