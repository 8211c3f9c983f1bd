//! Files: opening, bytes, closing.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use fuser::{FileHandle, INodeNo};
use rustix::fs::{FallocateFlags, SeekFrom};

use super::absent::both_here;
use super::handing::{Made, Origin};
use super::{Entry, Name, OpenFile, SpoolPath, Tree, TreeError, during};
use crate::mount::marks::{Hand, Marks};
use crate::spool::{self, Metadata, OpenOptions, SpoolError};

/// Whether opening a file empties it (`O_TRUNC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum Truncate {
    No,
    Yes,
}

/// A file made and opened in one step.
#[derive(Clone, Copy, Debug)]
pub(in crate::mount) struct Created {
    pub(in crate::mount) entry: Entry,
    pub(in crate::mount) handle: FileHandle,
}

/// The most that one `copy_file_range` copies. The caller asks again for the rest; meanwhile,
/// others get their turn.
const COPY_BYTES_MAX: u64 = 64 << 20;

/// So much is written to the disk's file at a time, however much the kernel passes on: as `cp`
/// writes by itself. For more at once the page cache takes larger pages, and a virtual machine has
/// to get those from its host, which takes longer than the copy.
const PIECE_BYTES: usize = 128 << 10;

/// Set-user-id and set-group-id.
const PRIVILEGE_BITS: u16 = 0o6000;

impl Tree {
    pub(in crate::mount) fn open(
        &self,
        number: INodeNo,
        opening: OpenOptions,
        truncate: Truncate,
    ) -> Result<FileHandle, TreeError> {
        let _names = self.walking();
        let id = self.id(number);
        let (file, path) = match self.place(id) {
            Ok(SpoolPath::Root) => return Err(TreeError::NameReserved),
            Ok(SpoolPath::Entry(path)) => (self.spool.open_file(&path, opening)?, Some(path)),
            Err(error) => {
                let nameless = self.nameless(id, error)?;
                (
                    spool::reopen(&nameless.file, opening).map_err(during("reopen"))?,
                    None,
                )
            }
        };
        super::same(Metadata::of(&file).map_err(during("stat"))?, id)?;
        let stay = self.stay(id, &file)?;
        let open = self.taking(
            Made {
                file,
                id,
                way: None,
            },
            opening.access,
            Origin::Found,
            stay,
        );
        self.announce(open, path.as_ref(), truncate)
    }

    /// Makes a file and opens it; opens it if it is there already and `exclusive` does not forbid
    /// that.
    pub(in crate::mount) fn create(
        &self,
        folder: INodeNo,
        name: &OsStr,
        mode: u16,
        opening: OpenOptions,
        existing: Existing,
    ) -> Result<Created, TreeError> {
        let name = Name::new(name)?;
        let _names = self.renaming();
        let path = self.path_in(folder, name)?;
        let (fresh, truncate, origin) = match (self.make(&path, mode, opening), existing) {
            (Ok(fresh), _) => (fresh, Truncate::No, Origin::Made),
            (Err(error), Existing::Open(truncate)) if exists(&error) => (
                Made::of(self.spool.open_file(&path, opening)?)?,
                truncate,
                Origin::Found,
            ),
            (Err(error), Existing::Open(_) | Existing::Refuse) => return Err(error.into()),
        };
        let stay = match origin {
            Origin::Made => self.stay_made(fresh.id),
            Origin::Found => self.stay(fresh.id, &fresh.file)?,
        };
        let handle = self.announce(
            self.taking(fresh, opening.access, origin, stay),
            Some(&path),
            truncate,
        )?;
        let facts = self
            .opened(handle)
            .and_then(|open| Metadata::of(&open.file).map_err(during("stat")));
        match facts.and_then(|facts| self.tell(folder, name, facts)) {
            Ok(entry) => Ok(Created { entry, handle }),
            Err(error) => {
                // The kernel will not close what it was not told of.
                if let Some(open) = self.handles.close_file(handle) {
                    self.give_up(open, Some(&path))?;
                }
                Err(error)
            }
        }
    }

    pub(super) fn empty_to_write(&self, open: &OpenFile) -> Result<(), TreeError> {
        self.begin_change(open, Hand::Anybody)?;
        open.forsake()?;
        self.empty(&open.file)
    }

    /// Nothing that was under way to the file comes after this.
    pub(super) fn empty(&self, file: &File) -> Result<(), TreeError> {
        let _alone = self.ends.write().unwrap_or_else(PoisonError::into_inner);
        file.set_len(0).map_err(during("truncate"))
    }

    /// Fills `buffer`; answers how much of it, which is less than all only at the end of the file.
    pub(in crate::mount) fn read(
        &self,
        handle: FileHandle,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, TreeError> {
        let open = self.opened(handle)?;
        let mut done = 0;
        while done < buffer.len() {
            match open
                .file
                .read_at(&mut buffer[done..], offset.saturating_add(done as u64))
            {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(during("read")(error)),
            }
        }
        Ok(done)
    }

    /// Writes; answers how many bytes reached the spool. An error after the first of them is met
    /// again by the next write.
    pub(in crate::mount) fn write(
        &self,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        hand: Hand,
    ) -> Result<u32, TreeError> {
        let open = self.opened(handle)?;
        self.begin_change(&open, hand)?;
        let mut done = 0;
        while done < bytes.len() {
            let at = offset.saturating_add(done as u64);
            let piece = bytes.len().min(done + PIECE_BYTES);
            match self.write_or_make_room(&open.file, &bytes[done..piece], at) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if done > 0 => break,
                Err(error) => {
                    open.pen.iter().for_each(|pen| Marks::tear(pen, at));
                    return Err(during("write")(error));
                }
            }
        }
        open.pen
            .iter()
            .for_each(|pen| Marks::mend(pen, offset..offset.saturating_add(done as u64)));
        Ok(written_count(done))
    }

    /// Writes pages of a mapping; answers as `write` does. A mapping makes no file longer: what
    /// lies beyond its end was under way when the file was opened with `O_TRUNC`, for which the
    /// kernel does not hold such writes back, and is not wanted any more.
    pub(in crate::mount) fn write_back(
        &self,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u32, TreeError> {
        let _end = self.ends.read().unwrap_or_else(PoisonError::into_inner);
        let length = Metadata::of(&self.opened(handle)?.file)
            .map_err(during("stat"))?
            .size;
        let kept = usize::try_from(length.saturating_sub(offset))
            .map_or(bytes.len(), |left| left.min(bytes.len()));
        let written = if kept == 0 {
            0
        } else {
            self.write(handle, offset, &bytes[..kept], Hand::Anybody)?
        };
        Ok(if written as usize == kept {
            written_count(bytes.len())
        } else {
            written
        })
    }

    /// Who writes to a set-user-id file without being privileged takes that mark off it; we were
    /// asked to (`FUSE_HANDLE_KILLPRIV_V2`).
    pub(in crate::mount) fn drop_privileges(&self, handle: FileHandle) -> Result<(), TreeError> {
        let open = self.opened(handle)?;
        let facts = Metadata::of(&open.file).map_err(during("stat"))?;
        if facts.mode & PRIVILEGE_BITS != 0 {
            spool::set_mode(&open.file, facts.mode & !PRIVILEGE_BITS)
                .map_err(during("set the mode of"))?;
        }
        Ok(())
    }

    /// Returns when the bytes, and the name if this handle made it, survive a power cut.
    pub(in crate::mount) fn sync(
        &self,
        handle: FileHandle,
        extent: Extent,
    ) -> Result<(), TreeError> {
        let open = self.opened(handle)?;
        Self::sync_bytes(&open, || match extent {
            Extent::Bytes => open.file.sync_data(),
            Extent::All => open.file.sync_all(),
        })?;
        if open.name_is_new.load(Ordering::Acquire) {
            self.sync_name(&open)?;
            open.name_is_new.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn sync_name(&self, open: &OpenFile) -> Result<(), TreeError> {
        let names = self.walking();
        let folder = match self.place(open.id) {
            Ok(SpoolPath::Entry(path)) => self.spool.read_folder(&SpoolPath::parent_of(&path))?,
            // A file without a name has none to lose.
            Ok(SpoolPath::Root) | Err(_) => return Ok(()),
        };
        // A sync takes long, and renames need the lock.
        drop(names);
        folder.sync().map_err(during("sync the folder of"))
    }

    pub(in crate::mount) fn allocate(
        &self,
        handle: FileHandle,
        offset: u64,
        size: u64,
        mode: i32,
    ) -> Result<(), TreeError> {
        let open = self.opened(handle)?;
        self.begin_change(&open, Hand::Anybody)?;
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        rustix::fs::fallocate(&open.file, flags, offset, size)
            .map_err(|errno| during("allocate")(errno.into()))
    }

    /// The next data or hole (lseek(2)); other positions the kernel knows itself. Our own reads and
    /// writes use no position.
    pub(in crate::mount) fn seek(
        &self,
        handle: FileHandle,
        to: SeekFrom,
    ) -> Result<u64, TreeError> {
        let open = self.opened(handle)?;
        if let Some(found) = open.seek_in_absent(to) {
            return found;
        }
        rustix::fs::seek(&open.file, to).map_err(|errno| during("seek in")(errno.into()))
    }

    /// Copies inside the spool, which on some disks copies nothing; answers how much.
    pub(in crate::mount) fn copy(
        &self,
        (from, mut at): (FileHandle, u64),
        (to, mut put): (FileHandle, u64),
        size: u64,
    ) -> Result<u32, TreeError> {
        let (from, to) = (self.opened(from)?, self.opened(to)?);
        both_here(&from, &to)?;
        self.begin_change(&to, Hand::Anybody)?;
        let size = usize::try_from(size.min(COPY_BYTES_MAX)).expect("64 MiB fit");
        rustix::fs::copy_file_range(&from.file, Some(&mut at), &to.file, Some(&mut put), size)
            .map(|copied| u32::try_from(copied).expect("at most 64 MiB"))
            .map_err(|errno| during("copy")(errno.into()))
    }

    pub(in crate::mount) fn opened(&self, handle: FileHandle) -> Result<Arc<OpenFile>, TreeError> {
        self.handles.file(handle).ok_or(TreeError::NotOpen(handle))
    }
}

fn written_count(written: usize) -> u32 {
    u32::try_from(written).expect("the kernel writes at most 16 MiB at a time")
}

/// What `create` does with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum Existing {
    /// Open it.
    Open(Truncate),
    /// Fail (`O_EXCL`).
    Refuse,
}

/// How much `fsync` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum Extent {
    /// The bytes, and what is needed to read them (`fdatasync`).
    Bytes,
    /// The facts too.
    All,
}

fn exists(error: &SpoolError) -> bool {
    error.source.kind() == io::ErrorKind::AlreadyExists
}
