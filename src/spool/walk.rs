//! Reading folders: the names in one, or all files in a tree.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use heirloom_protocol::LibraryPath;
use rustix::fs::Dir;

use super::Spool;
use super::error::SpoolError;
use super::metadata::{Kind, Metadata};
use super::path::SpoolPath;
use crate::journal::{FileId, Stamp};

/// An open folder that is read from any position it returned before. Positions are those of the
/// file system, so a name that is neither added nor removed meanwhile is returned exactly once,
/// whatever else changes.
#[derive(Debug)]
pub struct FolderReader {
    stream: Dir,
    position: i64,
}

/// One name of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// The name; `.` and `..` are among them. Names that are not UTF-8 are left out, because they
    /// cannot be opened here.
    pub name: String,
    /// Its inode number, as the folder has it.
    pub id: FileId,
    /// Its kind, as the folder has it; `Special` if the file system does not keep it there.
    pub kind: Kind,
    /// The position after it.
    pub next: u64,
}

/// Step of a walk: a regular file with its path, or a folder or name that could not be read.
pub type WalkStep = Result<(LibraryPath, FileId, Stamp), SpoolError>;

impl FolderReader {
    /// The next name at or after `position` (0 is the beginning); `None` at the end.
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

    /// Metadata of a name in this folder.
    pub fn metadata(&self, name: &str) -> io::Result<Metadata> {
        Metadata::of_entry(self.stream.fd()?, name)
    }

    /// Metadata of the folder itself, also if it was removed.
    pub fn own_metadata(&self) -> io::Result<Metadata> {
        Metadata::of(self.stream.fd()?)
    }

    /// Makes the names in the folder survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.stream.fd()?)?)
    }
}

impl Spool {
    /// Opens a folder for reading its names.
    pub fn read_folder(&self, folder_path: &SpoolPath) -> Result<FolderReader, SpoolError> {
        let folder = self.open_folder(folder_path)?;
        let stream = Dir::new(folder)
            .map_err(|source| SpoolError::within("read folder", folder_path, source))?;
        Ok(FolderReader {
            stream,
            position: 0,
        })
    }

    /// Visits every regular file of the tree, folder by folder. Errors of single folders are passed
    /// to the callback, and do not end the walk.
    ///
    /// One folder is open at a time, so that a deep tree needs no more descriptors.
    pub fn walk(&self, visit: &mut dyn FnMut(WalkStep)) {
        self.walk_below(SpoolPath::Root, &mut |step| {
            visit(step);
            ControlFlow::Continue(())
        });
    }

    /// Walks part of the tree like [`Self::walk`], until the callback breaks it off.
    pub fn walk_below(
        &self,
        folder_path: SpoolPath,
        visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>,
    ) {
        let mut waiting = vec![folder_path];
        while let Some(folder_path) = waiting.pop() {
            let next = match self.walk_folder(&folder_path, &mut waiting, visit) {
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
        folder_path: &SpoolPath,
        waiting: &mut Vec<SpoolPath>,
        visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SpoolError> {
        let failed = |source: io::Error| SpoolError::within("read folder", folder_path, source);
        let folder = self.open_folder(folder_path)?;
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
            let next = match visit_entry(folder_path, folder.as_fd(), OsStr::from_bytes(name)) {
                Ok(Visited::File(path, metadata)) => {
                    visit(Ok((path, metadata.id, metadata.stamp())))
                }
                Ok(Visited::Folder(path)) => {
                    waiting.push(SpoolPath::Entry(path));
                    continue;
                }
                Ok(Visited::Other) => continue,
                Err(error) => visit(Err(error)),
            };
            if next.is_break() {
                return Ok(next);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

enum Visited {
    File(LibraryPath, Metadata),
    Folder(LibraryPath),
    /// A link or special file, or removed since its name was read.
    Other,
}

fn visit_entry(
    folder_path: &SpoolPath,
    folder: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<Visited, SpoolError> {
    let invalid = |why: rustix::io::Errno| {
        let mut error = SpoolError::within("read the name of spooled file", folder_path, why);
        error.path.push(name);
        error
    };
    let text = name
        .to_str()
        .ok_or_else(|| invalid(rustix::io::Errno::ILSEQ))?;
    // `.` and `..` are excluded and the file system has no other invalid names, so it is too long.
    let path = folder_path
        .join(text)
        .map_err(|_| invalid(rustix::io::Errno::NAMETOOLONG))?;
    match Metadata::of_entry(folder, text) {
        Ok(metadata) => Ok(match metadata.kind {
            Kind::File => Visited::File(path, metadata),
            Kind::Folder => Visited::Folder(path),
            Kind::Link | Kind::Special => Visited::Other,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Visited::Other),
        Err(error) => Err(SpoolError::at("look up", &path, error)),
    }
}
