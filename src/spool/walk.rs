//! The walk: reading folders, one or all.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use heirloom_protocol::LibraryPath;
use rustix::fs::Dir;

use super::{Kind, Metadata, Spool, SpoolError, SpoolPath};
use crate::journal::{FileId, Stamp};

/// A folder being read, from any position that it once gave out. Positions are the disk's own, so a
/// name that is neither added nor removed meanwhile is shown exactly once, whatever else changes.
#[derive(Debug)]
pub struct FolderReader {
    stream: Dir,
    position: i64,
}

/// One name of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// `.` and `..` among them. Names that are not UTF-8 are left out: nobody could open them here.
    pub name: String,
    /// Its inode number, as the folder has it.
    pub id: FileId,
    /// What kind of thing it is, as the folder has it; not every disk keeps this, then it is
    /// `Special`.
    pub kind: Kind,
    /// The position after it.
    pub next: u64,
}

/// What a walk meets: a regular file with its name, or a folder or name that could not be read.
pub type WalkStep = Result<(LibraryPath, FileId, Stamp), SpoolError>;

impl FolderReader {
    /// The next name at or after `position` (0 is the beginning), or none at the end.
    pub fn read(&mut self, position: u64) -> io::Result<Option<FolderEntry>> {
        let wanted = position.cast_signed();
        if wanted != self.position {
            self.stream.seek(wanted)?;
            self.position = wanted;
        }
        while let Some(entry) = self.stream.read().transpose()? {
            self.position = entry.offset();
            if let Ok(name) = entry.file_name().to_str() {
                return Ok(Some(FolderEntry {
                    name: name.to_owned(),
                    id: FileId(entry.ino()),
                    kind: Kind::of(entry.file_type()),
                    next: self.position.cast_unsigned(),
                }));
            }
        }
        Ok(None)
    }

    /// What is known of a name in this folder, now.
    pub fn metadata(&self, name: &str) -> io::Result<Metadata> {
        Metadata::named(self.stream.fd()?, name)
    }

    /// What is known of the folder itself, be it without a name by now.
    pub fn own_metadata(&self) -> io::Result<Metadata> {
        Metadata::of(self.stream.fd()?)
    }

    /// Makes the names in it survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.stream.fd()?)?)
    }
}

impl Spool {
    /// Opens a folder for reading its names.
    pub fn read_folder(&self, place: &SpoolPath) -> Result<FolderReader, SpoolError> {
        let folder = self.open_folder(place)?;
        let stream =
            Dir::new(folder).map_err(|source| SpoolError::within("read folder", place, source))?;
        Ok(FolderReader {
            stream,
            position: 0,
        })
    }

    /// Calls back for every regular file of the tree, folder by folder. Errors of single folders
    /// are handed to the callback, not fatal.
    ///
    /// One folder is open at a time, so that a deep tree costs no descriptors.
    pub fn walk(&self, visit: &mut dyn FnMut(WalkStep)) {
        self.walk_below(SpoolPath::Root, &mut |step| {
            visit(step);
            ControlFlow::Continue(())
        });
    }

    /// Walks a part of the tree like [`Self::walk`], until the callback breaks it off.
    pub fn walk_below(&self, place: SpoolPath, visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>) {
        let mut waiting = vec![place];
        while let Some(place) = waiting.pop() {
            let next = match self.walk_folder(&place, &mut waiting, visit) {
                Ok(next) => next,
                Err(error) => visit(Err(error)),
            };
            if next.is_break() {
                return;
            }
        }
    }

    fn walk_folder(
        &self,
        place: &SpoolPath,
        waiting: &mut Vec<SpoolPath>,
        visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SpoolError> {
        let failed = |source: io::Error| SpoolError::within("read folder", place, source);
        let folder = self.open_folder(place)?;
        let mut stream = Dir::read_from(&folder).map_err(|source| failed(source.into()))?;
        while let Some(entry) = stream
            .read()
            .transpose()
            .map_err(|source| failed(source.into()))?
        {
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let next = match meet(place, folder.as_fd(), OsStr::from_bytes(name)) {
                Ok(Met::File(path, facts)) => visit(Ok((path, facts.id, facts.stamp()))),
                Ok(Met::Folder(path)) => {
                    waiting.push(SpoolPath::Entry(path));
                    continue;
                }
                Ok(Met::Other) => continue,
                Err(error) => visit(Err(error)),
            };
            if next.is_break() {
                return Ok(next);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

enum Met {
    File(LibraryPath, Metadata),
    Folder(LibraryPath),
    /// A link or special file, or gone since its name was read.
    Other,
}

fn meet(place: &SpoolPath, folder: BorrowedFd<'_>, name: &OsStr) -> Result<Met, SpoolError> {
    let invalid = |why: rustix::io::Errno| {
        let mut error = SpoolError::within("take the name of spooled file", place, why);
        error.path.push(name);
        error
    };
    let text = name
        .to_str()
        .ok_or_else(|| invalid(rustix::io::Errno::ILSEQ))?;
    // `.` and `..` are gone and the disk has no other bad name, so it can only be the length.
    let path = place
        .join(text)
        .map_err(|_| invalid(rustix::io::Errno::NAMETOOLONG))?;
    match Metadata::named(folder, text) {
        Ok(facts) => Ok(match facts.kind {
            Kind::File => Met::File(path, facts),
            Kind::Folder => Met::Folder(path),
            Kind::Link | Kind::Special => Met::Other,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Met::Other),
        Err(error) => Err(SpoolError::at("look up", &path, error)),
    }
}
