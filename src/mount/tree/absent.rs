//! Absent bytes: what differs where bytes of a file are only on the server.
//!
//! Looking, naming and setting times never fetch. Reading fetches what is read; changing fetches
//! all first, or nothing where nothing is to be kept. Who has to wait is told so
//! (`TreeError::Absent`, or `missing`), and asks again when the bytes are here: nobody waits in
//! this room.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use fuser::FileHandle;
use rustix::fs::{SeekFrom, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::{Change, OpenFile, Target, Tree, TreeError, during};
use crate::fetch::{OpenGuard, OpenPlaceholder};
use crate::journal::{FileId, Stamp};
use crate::mount::passthrough::IoPath;
use crate::spool::{self, Access, Durability, Kind, Metadata, OpenOptions, Placeholder, Timespec};

/// Sizes of allocation in stat(2) are in this unit, in bytes.
const BLOCK_UNIT: u64 = 512;

/// What programs are told to read and write at a time where that comes to us, in bytes: as much as
/// the kernel passes on in one request. `cp` then asks 40 times for a 40 MB photo and not 320
/// times. Where the kernel serves the file, the disk's own word is better: a program that writes a
/// megabyte at a time takes six times as long on a machine whose large pages have to be got from
/// its host.
const DIRECT_PIECE_BYTES: u32 = 1 << 20;

/// A file that is about to be cut off and was a placeholder: what has to be undone afterwards.
pub(super) struct Emptying {
    _stay: OpenGuard,
    file: File,
}

impl Tree {
    /// Notes that a file is open, which keeps its bytes here, and learns whether some are missing.
    pub(super) fn stay(&self, id: FileId, file: &File) -> Result<Option<OpenGuard>, TreeError> {
        match &self.fetcher {
            Some(fetcher) => Ok(Some(
                fetcher
                    .register_open(id, file)
                    .map_err(during("learn what is missing of"))?,
            )),
            None => match Placeholder::of(file).map_err(during("learn what is missing of"))? {
                Some(_) => Err(TreeError::OutOfReach),
                None => Ok(None),
            },
        }
    }

    /// The same of a file that was just made, of which nothing is missing.
    pub(super) fn stay_made(&self, id: FileId) -> Option<OpenGuard> {
        self.fetcher
            .as_ref()
            .map(|fetcher| fetcher.register_created(id))
    }

    /// What is missing of these bytes of an open file; nothing if they can be read now.
    pub(in crate::mount) fn missing(
        &self,
        handle: FileHandle,
        offset: u64,
        length: u64,
    ) -> Option<OpenPlaceholder> {
        let open = self.handles.file(handle)?;
        open.absent()
            .filter(|absent| !absent.has(offset, length))
            .cloned()
    }

    /// What is known of a file as its owner knows it: one that is being filled this moment has the
    /// time of the whole one.
    pub(super) fn shown(&self, mut facts: Metadata) -> Metadata {
        if self.passage.io_path() == IoPath::Direct {
            facts.block_size = DIRECT_PIECE_BYTES;
        }
        let being_filled = self.fetcher.as_ref().filter(|_| facts.kind == Kind::File);
        match being_filled.and_then(|fetcher| fetcher.stamp_during_fetch(facts.id)) {
            Some(stamp) => Metadata {
                modified: moment(stamp.mtime_ns),
                ..facts
            },
            None => facts,
        }
    }

    /// Before a file is resized by name: a placeholder is fetched first (`TreeError::Absent`),
    /// unless nothing of it is to be kept.
    pub(super) fn before_resize(
        &self,
        target: &Target,
        id: FileId,
        size: u64,
    ) -> Result<Option<Emptying>, TreeError> {
        let Target::Held(held) = target else {
            return Ok(None);
        };
        let opening = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(held, opening).map_err(during("open"))?;
        let Some(stay) = self.stay(id, &file)? else {
            return Ok(None);
        };
        match stay.placeholder() {
            None => Ok(None),
            Some(absent) if size > 0 => Err(TreeError::Absent(absent.clone())),
            Some(absent) => {
                self.forsake(absent, &file)?;
                Ok(Some(Emptying { _stay: stay, file }))
            }
        }
    }

    /// After it was emptied: nothing of it is in doubt.
    pub(super) fn after_resize(&self, emptied: Option<&Emptying>) -> Result<(), TreeError> {
        let closed = emptied.map_or(Ok(()), |emptying| {
            self.spool.marker().mark_closed(&emptying.file)
        });
        closed.map_err(during("mark"))
    }

    /// Empties a file through a handle that cannot write (`O_RDONLY | O_TRUNC`).
    pub(super) fn empty_to_read(&self, open: &OpenFile) -> Result<(), TreeError> {
        let opening = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(&open.file, opening).map_err(during("truncate"))?;
        let Some(absent) = open.absent() else {
            return self.empty(&file);
        };
        self.forsake(absent, &file)?;
        self.empty(&file)?;
        self.spool
            .marker()
            .mark_closed(&file)
            .map_err(during("mark"))
    }

    /// What is only on the server is not wanted any more. Between now and the moment when the file
    /// is empty it has holes and says nothing of them, so it is marked as torn for that long.
    fn forsake(&self, absent: &OpenPlaceholder, file: &File) -> Result<(), TreeError> {
        self.spool
            .marker()
            .mark_open(file)
            .map_err(during("mark"))?;
        absent.discard().map_err(during("truncate"))
    }

    /// Writes; on a full disk, photos that the server has too make room first. The network is not
    /// waited for.
    pub(super) fn write_or_make_room(
        &self,
        file: &File,
        bytes: &[u8],
        offset: u64,
    ) -> std::io::Result<usize> {
        match (file.write_at(bytes, offset), &self.fetcher) {
            (Err(error), Some(fetcher))
                if is_full(&error) && fetcher.free_space(bytes.len() as u64) =>
            {
                file.write_at(bytes, offset)
            }
            (written, _) => written,
        }
    }

    /// A time was set. Filling a placeholder changes the disk's, so it is noted beside.
    pub(super) fn note_time(
        &self,
        target: &Target,
        change: &Change,
        facts: Metadata,
    ) -> Result<(), TreeError> {
        let (Some(fetcher), Some(times)) = (&self.fetcher, &change.times) else {
            return Ok(());
        };
        // All its bytes have room on the disk, and nobody fills it: it is no placeholder, and need
        // not be asked.
        let is_ordinary = facts.blocks * BLOCK_UNIT >= facts.size
            && fetcher.stamp_during_fetch(facts.id).is_none();
        if facts.kind != Kind::File || is_ordinary || times.last_modification.tv_nsec == UTIME_OMIT
        {
            return Ok(());
        }
        let opening = OpenOptions {
            access: Access::Read,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(target, opening).map_err(during("open"))?;
        fetcher
            .set_mtime(facts.id, &file, time_set(times, facts))
            .map_err(during("note the time of"))
    }
}

impl OpenFile {
    /// What is missing of it; nothing if it is an ordinary file. Only an ordinary one may be served
    /// past us.
    pub(in crate::mount) fn absent(&self) -> Option<&OpenPlaceholder> {
        self.stay
            .as_ref()
            .and_then(OpenGuard::placeholder)
            .filter(|absent| !absent.is_complete())
    }

    /// Before the first byte changes through this handle: nothing may be missing by then.
    pub(super) fn must_be_whole(&self) -> Result<(), TreeError> {
        match self.absent() {
            Some(absent) if self.access.can_write() => Err(TreeError::Absent(absent.clone())),
            Some(_) | None => Ok(()),
        }
    }

    /// What is only on the server is not wanted any more. The file is marked as torn already.
    pub(super) fn forsake(&self) -> Result<(), TreeError> {
        self.absent().map_or(Ok(()), |absent| {
            absent.discard().map_err(during("truncate"))
        })
    }

    /// The next data or hole, for one whose holes are none: a program that skipped them would copy
    /// zeros in the place of a photo.
    pub(super) fn seek_in_absent(&self, to: SeekFrom) -> Option<Result<u64, TreeError>> {
        self.absent()?;
        let size = match Metadata::of(&self.file).map_err(during("seek in")) {
            Ok(facts) => facts.size,
            Err(error) => return Some(Err(error)),
        };
        match to {
            SeekFrom::Data(offset) if offset < size => Some(Ok(offset)),
            SeekFrom::Hole(offset) if offset < size => Some(Ok(size)),
            SeekFrom::Data(_) | SeekFrom::Hole(_) => {
                Some(Err(during("seek in")(rustix::io::Errno::NXIO.into())))
            }
            SeekFrom::Start(_) | SeekFrom::End(_) | SeekFrom::Current(_) => None,
        }
    }
}

/// Files of which both are here can be copied inside the spool; of others the kernel is told to
/// read and write instead.
pub(super) fn both_here(from: &Arc<OpenFile>, to: &Arc<OpenFile>) -> Result<(), TreeError> {
    if from.absent().is_some() || to.absent().is_some() {
        return Err(during("copy")(rustix::io::Errno::OPNOTSUPP.into()));
    }
    Ok(())
}

fn is_full(error: &std::io::Error) -> bool {
    use rustix::io::Errno;

    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT)
    )
}

fn time_set(times: &Timestamps, facts: Metadata) -> Stamp {
    let set = times.last_modification;
    if set.tv_nsec == UTIME_NOW {
        return facts.stamp();
    }
    let nanoseconds = u32::try_from(set.tv_nsec).unwrap_or_default();
    Metadata {
        modified: Timespec {
            seconds: set.tv_sec,
            nanoseconds,
        },
        ..facts
    }
    .stamp()
}

fn moment(ns: i64) -> Timespec {
    const SECOND: i64 = 1_000_000_000;
    let nanoseconds =
        u32::try_from(ns.rem_euclid(SECOND)).expect("a remainder of a billion fits into 32 bits");
    Timespec {
        seconds: ns.div_euclid(SECOND),
        nanoseconds,
    }
}
