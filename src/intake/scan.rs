//! The scan of one file: is it still the file that was reported, is it to be backed up, is it
//! complete, and what is its fingerprint?

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::{Fingerprint, Fingerprinter};
use rustix::io::Errno;

use super::incomplete_reason::IncompleteReason;
use super::kind::{read_head, skip_reason_for_content};
use super::name::skip_reason_for_name;
use super::queue::{DueFile, FileOrigin};
use super::skip_reason::SkipReason;
use super::source::{Source, SourceFile};
use super::writeback::begin_writeback;
use crate::config::Accept;
use crate::journal::Stamp;
use crate::spool::{Placeholder, Spool, SpoolError, WriteState};

/// Bytes read at a time: large enough that system calls do not count, small enough to notice soon
/// that the work ends.
const READ_BYTES: usize = 1 << 20;

/// The stamp recorded for a file that could not be opened.
const UNKNOWN_STAMP: Stamp = Stamp {
    size: 0,
    mtime_ns: 0,
};

/// Result of a scan.
#[derive(Debug)]
pub(super) enum ScanOutcome {
    /// The file does not have this name any more.
    NotFound,
    /// Some or all of its bytes are only on the server: what can be read is not its content.
    Placeholder {
        stamp: Stamp,
        fingerprint: Fingerprint,
    },
    /// It is not to be backed up.
    Skipped { stamp: Stamp, reason: SkipReason },
    /// Its content is durable and has this fingerprint.
    Complete {
        stamp: Stamp,
        fingerprint: Fingerprint,
    },
    /// Bytes of it are missing.
    Incomplete {
        stamp: Stamp,
        reason: IncompleteReason,
    },
    /// It could not be read.
    Unreadable { stamp: Stamp, error: io::Error },
    /// It was read, but may not be on the disk. Reading it again would prove nothing (`fsync(2)`
    /// reports an error once).
    NotDurable {
        stamp: Stamp,
        fingerprint: Fingerprint,
        error: io::Error,
    },
    /// It changed during the scan.
    Changed,
    /// The scan was given up: the work ends, or the file changed since it was taken.
    Interrupted,
}

/// The scan of one open file.
#[derive(Debug)]
pub(super) struct FileScan {
    pub(super) due: DueFile,
    pub(super) stamp: Stamp,
    file: File,
}

impl FileScan {
    /// Opens the file.
    pub(super) fn open(source: &dyn Source, due: DueFile) -> Result<Self, (DueFile, ScanOutcome)> {
        match source.open(&due.path) {
            Ok(SourceFile { file, id, stamp }) if id == due.id => Ok(Self { due, stamp, file }),
            Ok(_) => Err((due, ScanOutcome::NotFound)),
            Err(error) => Err((due, not_opened(error))),
        }
    }

    /// What name, write state and first bytes say; `None` if the file is to be backed up.
    pub(super) fn classify(&self, source: &dyn Source, accept: Accept) -> Option<ScanOutcome> {
        self.try_classify(source, accept).unwrap_or_else(|error| {
            Some(ScanOutcome::Unreadable {
                stamp: self.stamp,
                error,
            })
        })
    }

    fn try_classify(&self, source: &dyn Source, accept: Accept) -> io::Result<Option<ScanOutcome>> {
        let stamp = self.stamp;
        // Before anything else: whatever its name or write state, holes are no content.
        if let Some(placeholder) = self.placeholder()? {
            return Ok(Some(placeholder));
        }
        if let Some(reason) = skip_reason_for_name(&self.due.path) {
            return Ok(Some(ScanOutcome::Skipped { stamp, reason }));
        }
        // The write state comes before the bytes: of an incomplete file the first ones, or all of
        // them, may be what is missing.
        match source.write_state(&self.file)? {
            WriteState::Complete => {}
            state @ (WriteState::Unfinished | WriteState::Unsynced) => {
                let reason = IncompleteReason::WriteState(state);
                return Ok(Some(ScanOutcome::Incomplete { stamp, reason }));
            }
            WriteState::Mapped => return Ok(Some(ScanOutcome::Changed)),
            // Tried again later, like a file that cannot be read at the moment.
            state @ WriteState::InUse => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    state.to_string(),
                ));
            }
        }
        let skip_reason = self.content_skip_reason(accept)?;
        if let Some(reason) = skip_reason.filter(|reason| *reason != SkipReason::Empty) {
            return Ok(Some(ScanOutcome::Skipped { stamp, reason }));
        }
        if let Some(reason) = self.incomplete_reason(source)? {
            return Ok(Some(ScanOutcome::Incomplete { stamp, reason }));
        }
        Ok(skip_reason.map(|reason| ScanOutcome::Skipped { stamp, reason }))
    }

    /// What is missing of a file of which neither a report of the mount nor a write state says that
    /// it is complete.
    fn incomplete_reason(&self, source: &dyn Source) -> io::Result<Option<IncompleteReason>> {
        let fallback = match self.due.origin {
            FileOrigin::Reported => return Ok(None),
            FileOrigin::Discovered => None,
            FileOrigin::DiscoveredShorter => Some(IncompleteReason::Shorter),
        };
        if source.has_write_state(&self.file)? {
            Ok(None)
        } else {
            IncompleteReason::of_content(&self.file, self.stamp.size, fallback)
        }
    }

    /// The outcome for a placeholder; `None` if the file is none. One that was being filled when
    /// the process ended gets its time back.
    fn placeholder(&self) -> io::Result<Option<ScanOutcome>> {
        let Some(placeholder) = Placeholder::of(&self.file)? else {
            return Ok(None);
        };
        let Placeholder {
            stamp, fingerprint, ..
        } = placeholder;
        if self.stamp.size != stamp.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "placeholder was resized outside the mount",
            ));
        }
        if self.stamp != stamp {
            placeholder.restore_time(&self.file)?;
        }
        Ok(Some(ScanOutcome::Placeholder { stamp, fingerprint }))
    }

    fn content_skip_reason(&self, accept: Accept) -> io::Result<Option<SkipReason>> {
        if self.stamp.size == 0 {
            return Ok(Some(SkipReason::Empty));
        }
        let head = read_head(&self.file)?;
        Ok(skip_reason_for_content(accept, &self.due.path, &head))
    }

    /// Lets the disk begin to write while we hash.
    pub(super) fn begin_writeback(&self) {
        if let Err(error) = begin_writeback(&self.file) {
            // Only a head start is lost; the fsync that decides comes later and reports for itself.
            tracing::debug!(path = ?self.due.path, %error, "cannot start early write-back");
        }
    }

    /// Reads and hashes the whole file. `is_wanted` is asked before each read.
    pub(super) fn fingerprint(
        &self,
        buffer: &mut Vec<u8>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Fingerprint, ScanOutcome> {
        buffer.resize(READ_BYTES, 0);
        let mut fingerprinter = Fingerprinter::default();
        let mut at = 0;
        loop {
            if !is_wanted() {
                return Err(ScanOutcome::Interrupted);
            }
            match self.file.read_at(buffer, at) {
                Ok(0) => return Ok(fingerprinter.finish()),
                Ok(read) => {
                    fingerprinter.update(&buffer[..read]);
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(ScanOutcome::Unreadable {
                        stamp: self.stamp,
                        error,
                    });
                }
            }
        }
    }

    /// Makes content and times durable, and checks that they are still those that were read.
    pub(super) fn sync(&self, fingerprint: Fingerprint) -> ScanOutcome {
        let stamp = self.stamp;
        let now = || Ok((Spool::identify(&self.file)?.1, Placeholder::of(&self.file)?));
        match self.file.sync_all().map(|()| now()) {
            Err(error) => ScanOutcome::NotDurable {
                stamp,
                fingerprint,
                error,
            },
            Ok(Err(error)) => ScanOutcome::Unreadable { stamp, error },
            Ok(Ok((now, None))) if now == stamp => ScanOutcome::Complete { stamp, fingerprint },
            // Also if its bytes were evicted meanwhile: holes may have been read.
            Ok(Ok(_)) => ScanOutcome::Changed,
        }
    }

    /// Clears the write state, which says that bytes may be missing.
    pub(super) fn clear_write_state(&self, source: &dyn Source) -> io::Result<()> {
        source.clear_write_state(&self.file)
    }
}

/// The outcome for a file that could not be opened.
fn not_opened(error: SpoolError) -> ScanOutcome {
    // Nothing, a folder, a symbolic link or a device has this name now: not the file that was
    // reported.
    let is_another = matches!(
        Errno::from_io_error(&error.source),
        Some(
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV
        )
    );
    if is_another {
        ScanOutcome::NotFound
    } else {
        ScanOutcome::Unreadable {
            stamp: UNKNOWN_STAMP,
            error: error.source,
        }
    }
}
