//! The door: kernel requests in, one call to the tree each, answers out.
//!
//! Nothing is decided here but how the kernel may cache what it was told. The mount is the only
//! writer of its spool, so names and facts may be kept long; what a program changes, the kernel
//! itself takes out of its cache.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::SeekFrom;

use super::answer::{
    KNOWN_FOR, answer_created, answer_empty, answer_entry, answer_facts, answer_open,
    answer_written, answer_xattr, refusal, serve,
};
use super::beside::Beside;
use super::later::{Creation, Later};
use super::manner::{agree, listing};
use super::marks::Hand;
use super::passthrough::IoMode;
use super::shape::{attributes, kind, nothing, opening, permissions, replacing, times, truncate};
use super::tree::{Change, Existing, Extent, Room, Tree, TreeError};
use crate::fetch::{InterruptProbe, OpenPlaceholder};

/// How long the kernel may believe that a name is not there. Shorter than what it may believe of
/// one that is, because somebody may put a file into the spool behind our back, and a name that
/// does not appear looks like a loss.
const MISSING_FOR: Duration = Duration::from_secs(1);

thread_local! {
    /// What is read on its way to the kernel: one buffer for each event thread, as large as the
    /// largest read so far.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The tree, as fuser wants it.
pub(super) struct Door {
    tree: Arc<Tree>,
    choice: IoMode,
    beside: Beside,
}

impl Door {
    pub(super) fn new(tree: Arc<Tree>, choice: IoMode) -> Self {
        Self {
            tree,
            choice,
            beside: Beside::default(),
        }
    }

    fn serve(
        &self,
        operation: &'static str,
        request: &Request,
        number: INodeNo,
        answer: impl FnOnce(),
    ) {
        serve(operation, number, answer);
        self.beside.answered(request.pid());
    }

    /// For a request that has to wait for bytes.
    fn later(&self, absent: OpenPlaceholder, request: &Request) -> Later {
        Later {
            tree: Arc::clone(&self.tree),
            absent,
            asker: InterruptProbe::new(request.pid()),
        }
    }
}

impl Filesystem for Door {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        agree(config, self.choice);
        Ok(())
    }

    fn destroy(&mut self) {
        serve("destroy", INodeNo::ROOT, || self.tree.close_all());
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve("lookup", request, parent, || {
            match self.tree.lookup(parent, name) {
                Ok(None) => {
                    reply.entry_with_ttls(&MISSING_FOR, &MISSING_FOR, &nothing(), Generation(0));
                }
                Ok(Some(entry)) => answer_entry(reply, Ok(entry)),
                Err(error) => answer_entry(reply, Err(error)),
            }
        });
    }

    fn forget(&self, request: &Request, number: INodeNo, times: u64) {
        self.serve("forget", request, number, || {
            self.tree.forget(number, times);
        });
    }

    fn getattr(
        &self,
        request: &Request,
        number: INodeNo,
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        self.serve("getattr", request, number, || {
            answer_facts(reply, number, self.tree.facts(number, handle));
        });
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.serve("setattr", request, number, || {
            let change = Change {
                mode: mode.map(permissions),
                uid,
                gid,
                size,
                times: times(accessed, modified),
            };
            match self.tree.change(number, handle, &change) {
                Err(TreeError::Absent(absent)) => {
                    self.later(absent, request).change(number, change, reply);
                }
                changed => answer_facts(reply, number, changed),
            }
        });
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        self.serve("readlink", request, number, || {
            match self.tree.read_link(number) {
                Ok(target) => reply.data(target.as_bytes()),
                Err(error) => reply.error(refusal(&error)),
            }
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        self.serve("mknod", request, parent, || {
            let entry = match mode & libc::S_IFMT {
                0 | libc::S_IFREG => self.tree.create_empty_file(parent, name, permissions(mode)),
                _ => Err(TreeError::SpecialFile),
            };
            answer_entry(reply, entry);
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.serve("mkdir", request, parent, || {
            answer_entry(
                reply,
                self.tree.create_folder(parent, name, permissions(mode)),
            );
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve("unlink", request, parent, || {
            answer_empty(reply, self.tree.remove_file(parent, name));
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve("rmdir", request, parent, || {
            answer_empty(reply, self.tree.remove_folder(parent, name));
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.serve("symlink", request, parent, || {
            answer_entry(reply, self.tree.create_link(parent, name, target));
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.serve("rename", request, parent, || {
            let renamed = replacing(flags).and_then(|replace| {
                self.tree
                    .rename((parent, name), (new_parent, new_name), replace)
            });
            answer_empty(reply, renamed);
        });
    }

    fn link(
        &self,
        request: &Request,
        number: INodeNo,
        _parent: INodeNo,
        _name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.serve("link", request, number, || {
            answer_entry(reply, Err(TreeError::HardLink));
        });
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve("open", request, number, || {
            let how = opening(flags.0);
            match self.tree.open(number, how, truncate(flags.0)) {
                Err(TreeError::Absent(absent)) => {
                    self.later(absent, request).open(number, how, reply);
                }
                opened => answer_open(reply, &self.tree, opened),
            }
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.serve("create", request, parent, || {
            let how = opening(flags);
            let existing = if flags & libc::O_EXCL == 0 {
                Existing::Open(truncate(flags))
            } else {
                Existing::Refuse
            };
            match self
                .tree
                .create(parent, name, permissions(mode), how, existing)
            {
                Err(TreeError::Absent(absent)) => {
                    let creation = Creation {
                        folder: parent,
                        name: name.to_owned(),
                        mode: permissions(mode),
                    };
                    self.later(absent, request).create(creation, how, reply);
                }
                made => answer_created(reply, &self.tree, made),
            }
        });
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve("read", request, number, || {
            if let Some(absent) = self.tree.missing(handle, offset, u64::from(size)) {
                return self
                    .later(absent, request)
                    .read(number, handle, offset, size, reply);
            }
            READ_BUFFER.with_borrow_mut(|buffer| {
                let size = size as usize;
                if buffer.len() < size {
                    buffer.resize(size, 0);
                }
                match self.tree.read(handle, offset, &mut buffer[..size]) {
                    Ok(count) => reply.data(&buffer[..count]),
                    Err(error) => reply.error(refusal(&error)),
                }
            });
        });
    }

    fn write(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        how: WriteFlags,
        _flags: OpenFlags,
        owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.serve("write", request, number, || {
            let written = if how.contains(WriteFlags::FUSE_WRITE_CACHE) {
                self.tree.write_back(handle, offset, bytes)
            } else {
                self.tree
                    .write(handle, offset, bytes, owner.map_or(Hand::Anybody, Hand::Of))
            };
            let written = written.and_then(|count| {
                if how.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                    self.tree.drop_privileges(handle)?;
                }
                Ok(count)
            });
            answer_written(reply, written);
        });
    }

    fn flush(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.serve("flush", request, number, || {
            answer_empty(reply, self.tree.flush(handle, owner));
        });
    }

    fn release(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.serve("release", request, number, || {
            self.tree.close(handle);
            reply.ok();
        });
    }

    fn fsync(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.serve("fsync", request, number, || {
            let extent = if datasync { Extent::Bytes } else { Extent::All };
            answer_empty(reply, self.tree.sync(handle, extent));
        });
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.serve("opendir", request, number, || {
            match self.tree.open_folder(number) {
                Ok((handle, list)) => reply.opened(handle, listing(list)),
                Err(error) => reply.error(refusal(&error)),
            }
        });
    }

    fn readdir(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.serve("readdir", request, number, || {
            let listed = self.tree.list(handle, offset, |found| {
                if reply.add(found.number, found.next, kind(found.kind), &found.name) {
                    Room::None
                } else {
                    Room::Left
                }
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(refusal(&error)),
            }
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.serve("readdirplus", request, number, || {
            let listed = self.tree.list_entries(handle, offset, |found, entry| {
                let (shape, generation) = match entry {
                    Some(entry) => (attributes(entry.number, &entry.facts), entry.generation),
                    None => (
                        fuser::FileAttr {
                            kind: kind(found.kind),
                            ..nothing()
                        },
                        Generation(0),
                    ),
                };
                let full = reply.add(
                    found.number,
                    found.next,
                    &found.name,
                    &KNOWN_FOR,
                    &shape,
                    generation,
                );
                if full { Room::None } else { Room::Left }
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(refusal(&error)),
            }
        });
    }

    fn releasedir(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.serve("releasedir", request, number, || {
            self.tree.close_folder(handle);
            reply.ok();
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.serve("fsyncdir", request, number, || {
            answer_empty(reply, self.tree.sync_folder(handle));
        });
    }

    fn statfs(&self, request: &Request, number: INodeNo, reply: ReplyStatfs) {
        self.serve("statfs", request, number, || match self.tree.disk() {
            Ok(disk) => {
                let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                let (block, fragment, name) = (
                    small(disk.f_bsize),
                    small(disk.f_frsize),
                    small(disk.f_namemax),
                );
                reply.statfs(
                    disk.f_blocks,
                    disk.f_bfree,
                    disk.f_bavail,
                    disk.f_files,
                    disk.f_ffree,
                    block,
                    name,
                    fragment,
                );
            }
            Err(error) => reply.error(refusal(&error)),
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.serve("setxattr", request, number, || {
            answer_empty(reply, self.tree.set_xattr(number, name, value, flags));
        });
    }

    fn getxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.serve("getxattr", request, number, || {
            answer_xattr(reply, size, self.tree.xattr(number, name));
        });
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve("listxattr", request, number, || {
            let names = self.tree.list_xattrs(number);
            let joined = names.map(|names| {
                names
                    .iter()
                    .flat_map(|name| [name.as_bytes(), b"\0"].concat())
                    .collect()
            });
            answer_xattr(reply, size, joined);
        });
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve("removexattr", request, number, || {
            answer_empty(reply, self.tree.remove_xattr(number, name));
        });
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.serve("access", request, number, || {
            let wanted = rustix::fs::Access::from_bits_retain(mask.bits().cast_unsigned());
            answer_empty(reply, self.tree.check_access(number, wanted));
        });
    }

    fn ioctl(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in: &[u8],
        _out: u32,
        reply: ReplyIoctl,
    ) {
        self.serve("ioctl", request, number, || reply.error(Errno::ENOTTY));
    }

    fn fallocate(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.serve("fallocate", request, number, || {
            answer_empty(reply, self.tree.allocate(handle, offset, length, mode));
        });
    }

    fn lseek(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve("lseek", request, number, || {
            let to = match (whence, u64::try_from(offset)) {
                (libc::SEEK_DATA, Ok(offset)) => Ok(SeekFrom::Data(offset)),
                (libc::SEEK_HOLE, Ok(offset)) => Ok(SeekFrom::Hole(offset)),
                _ => Err(TreeError::UnknownFlag),
            };
            match to.and_then(|to| self.tree.seek(handle, to)) {
                Ok(found) => reply.offset(found.cast_signed()),
                Err(error) => reply.error(refusal(&error)),
            }
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        number: INodeNo,
        from: FileHandle,
        at: u64,
        _to_number: INodeNo,
        to: FileHandle,
        put: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.serve("copy_file_range", request, number, || {
            answer_written(reply, self.tree.copy((from, at), (to, put), length));
        });
    }
}
