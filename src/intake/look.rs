//! *A look* at one file that came to rest: is it still the file that was noted, is it to be kept,
//! and what is its fingerprint?

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::{Fingerprint, Fingerprinter, LibraryPath};

use rustix::io::Errno;

use super::kind::{HEAD_BYTES, Left, left_by_kind};
use super::lack::Lack;
use super::name::left_alone;
use super::notes::{Glance, Origin};
use super::writeback::begin_writeback;
use crate::config::Accept;
use crate::journal::{FileId, Stamp};
use crate::spool::{Placeholder, Spool, WriteState, WriteStateMarker};

/// So much is read at a time: large enough that system calls do not count, small enough to notice
/// soon that the work ends.
const PIECE_BYTES: usize = 1 << 20;

/// What a look at a file brought.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of this number is there under this name any more.
    Gone,
    /// Its bytes are on the server, all of them or but for some: what can be read of it is not its
    /// content.
    Placeholder {
        stamp: Stamp,
        fingerprint: Fingerprint,
    },
    /// It stays where it is.
    Left { stamp: Stamp, left: Left },
    /// Its content is on the disk and has this fingerprint.
    Whole {
        stamp: Stamp,
        fingerprint: Fingerprint,
    },
    /// Its bytes are not all there.
    Torn { stamp: Stamp, lack: Lack },
    /// It could not be read.
    Unreadable { stamp: Stamp, error: io::Error },
    /// It was read, and may not be on the disk for all that; reading it again would prove nothing
    /// (`fsync(2)` reports an error once).
    NotDurable {
        stamp: Stamp,
        fingerprint: Fingerprint,
        error: io::Error,
    },
    /// It changed while it was looked at.
    Changed,
    /// The work ends, or the note is stale: it was not looked at to the end.
    Interrupted,
}

/// A file that is to be kept, open, on its way to a fingerprint.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) glance: Glance,
    pub(super) stamp: Stamp,
    file: File,
}

impl Look {
    /// Opens the file.
    pub(super) fn open(spool: &Spool, glance: Glance) -> Result<Self, (Glance, Found)> {
        match open(spool, glance.id, &glance.path) {
            Ok((file, stamp)) => Ok(Self {
                glance,
                stamp,
                file,
            }),
            Err(found) => Err((glance, found)),
        }
    }

    /// What can be said of it by its name, its mark and its first bytes; nothing if it is to be
    /// kept.
    pub(super) fn judge(&self, marker: &WriteStateMarker, accept: Accept) -> Option<Found> {
        let stamp = self.stamp;
        // Before anything else: whatever its name or mark, holes are no content.
        match self.placeholder() {
            Ok(None) => {}
            Ok(Some(found)) => return Some(found),
            Err(error) => return Some(Found::Unreadable { stamp, error }),
        }
        if let Some(left) = left_alone(&self.glance.path) {
            return Some(Found::Left { stamp, left });
        }
        // The mark comes before the bytes: of a torn file the first ones, or all of them, may be
        // what is missing.
        let left = match marker.write_state(&self.file) {
            Ok(WriteState::Complete) => self.left_by_bytes(accept),
            Ok(soundness @ (WriteState::Unfinished | WriteState::Unsynced)) => {
                return Some(Found::Torn {
                    stamp,
                    lack: Lack::Marked(soundness),
                });
            }
            Ok(WriteState::Mapped) => return Some(Found::Changed),
            // Looked at again later, as what cannot be read at the moment.
            Ok(soundness @ WriteState::InUse) => {
                let error = io::Error::new(io::ErrorKind::ResourceBusy, soundness.to_string());
                return Some(Found::Unreadable { stamp, error });
            }
            Err(error) => Err(error),
        };
        let found = match left {
            Ok(Some(left)) if left != Left::Empty => return Some(Found::Left { stamp, left }),
            Ok(left) => self.lack(marker).map(|lack| match lack {
                Some(lack) => Some(Found::Torn { stamp, lack }),
                None => left.map(|left| Found::Left { stamp, left }),
            }),
            Err(error) => Err(error),
        };
        found.unwrap_or_else(|error| Some(Found::Unreadable { stamp, error }))
    }

    /// What is missing of a file that nobody has vouched for: neither who told of it, nor a mark.
    fn lack(&self, marker: &WriteStateMarker) -> io::Result<Option<Lack>> {
        let or_else = match self.glance.origin {
            Origin::Told => return Ok(None),
            Origin::Met => None,
            Origin::MetShorter => Some(Lack::Shorter),
        };
        if marker.is_marked(&self.file)? {
            Ok(None)
        } else {
            Lack::of(&self.file, self.stamp.size, or_else)
        }
    }

    /// Whether it is a placeholder. One that was being filled when we ended gets its time back.
    fn placeholder(&self) -> io::Result<Option<Found>> {
        let Some(placeholder) = Placeholder::of(&self.file)? else {
            return Ok(None);
        };
        let Placeholder {
            stamp, fingerprint, ..
        } = placeholder;
        if self.stamp.size != stamp.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a placeholder that was resized behind the mount",
            ));
        }
        if self.stamp != stamp {
            placeholder.restore_time(&self.file)?;
        }
        Ok(Some(Found::Placeholder { stamp, fingerprint }))
    }

    fn left_by_bytes(&self, accept: Accept) -> io::Result<Option<Left>> {
        if self.stamp.size == 0 {
            return Ok(Some(Left::Empty));
        }
        let head = read_head(&self.file)?;
        Ok(left_by_kind(accept, &self.glance.path, &head))
    }

    /// Lets the disk begin to write while we hash.
    pub(super) fn begin_writeback(&self) {
        if let Err(error) = begin_writeback(&self.file) {
            // Only a head start is lost; the fsync that decides comes later and reports for itself.
            tracing::debug!(path = ?self.glance.path, %error, "early write-back was refused");
        }
    }

    /// Reads all of it. `goes_on` is asked before each piece.
    pub(super) fn fingerprint(
        &self,
        buffer: &mut Vec<u8>,
        goes_on: impl Fn() -> bool,
    ) -> Result<Fingerprint, Found> {
        buffer.resize(PIECE_BYTES, 0);
        let mut fingerprinter = Fingerprinter::default();
        let mut at = 0;
        loop {
            if !goes_on() {
                return Err(Found::Interrupted);
            }
            match self.file.read_at(buffer, at) {
                Ok(0) => return Ok(fingerprinter.finish()),
                Ok(read) => {
                    fingerprinter.update(&buffer[..read]);
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Found::Unreadable {
                        stamp: self.stamp,
                        error,
                    });
                }
            }
        }
    }

    /// Makes content and times durable, and looks whether they are still those that were read.
    pub(super) fn sync(&self, fingerprint: Fingerprint) -> Found {
        let stamp = self.stamp;
        let now = || Ok((Spool::identify(&self.file)?.1, Placeholder::of(&self.file)?));
        match self.file.sync_all().map(|()| now()) {
            Err(error) => Found::NotDurable {
                stamp,
                fingerprint,
                error,
            },
            Ok(Err(error)) => Found::Unreadable { stamp, error },
            Ok(Ok((now, None))) if now == stamp => Found::Whole { stamp, fingerprint },
            // Also if its room was given back meanwhile: holes may have been read.
            Ok(Ok(_)) => Found::Changed,
        }
    }

    /// Takes off the mark that says that bytes may be missing.
    pub(super) fn unmark(&self, marker: &WriteStateMarker) -> io::Result<()> {
        marker.clear(&self.file)
    }
}

/// Opens what stands at `path`, if it is the file `id`.
fn open(spool: &Spool, id: FileId, path: &LibraryPath) -> Result<(File, Stamp), Found> {
    let unknown = Stamp {
        size: 0,
        mtime_ns: 0,
    };
    let file = spool.open_read(path).map_err(|error| {
        if is_no_file(&error.source) {
            Found::Gone
        } else {
            Found::Unreadable {
                stamp: unknown,
                error: error.source,
            }
        }
    })?;
    match Spool::identify(&file) {
        Ok((there, stamp)) if there == id => Ok((file, stamp)),
        Ok(_) => Err(Found::Gone),
        Err(error) => Err(Found::Unreadable {
            stamp: unknown,
            error,
        }),
    }
}

/// Nothing, a folder, a symbolic link or a device stands there now: not the file that was noted.
fn is_no_file(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV
        )
    )
}

/// Its first bytes, as many as tell its kind.
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
