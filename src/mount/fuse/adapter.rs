//! The adapter: each kernel request becomes one call of the tree and one reply.
//!
//! Nothing is decided here except how long the kernel may cache an answer. The mount is the only
//! writer of its spool, so names and attributes may be cached for long; the kernel itself drops
//! what a program changes.

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

use super::convert::{
    attributes, file_type, negative_attributes, open_options, permissions, replace_mode,
    requested_times, truncate,
};
use super::deferred::{CreateRequest, DeferredReply};
use super::init::{folder_flags, negotiate};
use super::reply::{
    CACHE_TTL, error_reply, reply_attr, reply_created, reply_empty, reply_entry, reply_opened,
    reply_written, reply_xattr, run_request,
};
use crate::fetch::{InterruptProbe, OpenPlaceholder};
use crate::mount::fs::tree::Tree;
use crate::mount::types::{
    AttributeChange, Existing, FillResult, Ino, IoMode, RequestObserver, SyncScope, TreeError,
    Writer,
};

/// How long the kernel may cache that a name does not exist. Shorter than [`CACHE_TTL`], because a
/// person may put a file into the spool directly, and a name that does not appear looks like a
/// loss.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);

thread_local! {
    /// The bytes of a read on their way to the kernel: one buffer for each event thread, as large as
    /// the largest read so far.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The tree as a file system of fuser.
pub(super) struct FuseFs {
    tree: Arc<Tree>,
    io_mode: IoMode,
    observer: Option<Box<dyn RequestObserver>>,
}

impl FuseFs {
    pub(super) fn new(
        tree: Arc<Tree>,
        io_mode: IoMode,
        observer: Option<Box<dyn RequestObserver>>,
    ) -> Self {
        Self {
            tree,
            io_mode,
            observer,
        }
    }

    /// Runs one request, and tells the observer that it was answered.
    fn run(
        &self,
        operation: &'static str,
        request: &Request,
        ino: INodeNo,
        answer: impl FnOnce(Ino),
    ) {
        let ino = ino.into();
        run_request(operation, ino, || answer(ino));
        if let Some(observer) = &self.observer {
            observer.request_answered(request.pid());
        }
    }

    /// The reply to a request that has to wait for bytes.
    fn defer(&self, placeholder: OpenPlaceholder, request: &Request) -> DeferredReply {
        DeferredReply {
            tree: Arc::clone(&self.tree),
            placeholder,
            probe: InterruptProbe::new(request.pid()),
        }
    }
}

impl Filesystem for FuseFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config, self.io_mode);
        Ok(())
    }

    fn destroy(&mut self) {
        run_request("destroy", Ino::ROOT, || self.tree.close_all());
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.run("lookup", request, parent, |parent| {
            match self.tree.lookup(parent, name) {
                Ok(None) => {
                    reply.entry_with_ttls(
                        &NEGATIVE_TTL,
                        &NEGATIVE_TTL,
                        &negative_attributes(),
                        Generation(0),
                    );
                }
                Ok(Some(entry)) => reply_entry(reply, Ok(entry)),
                Err(error) => reply_entry(reply, Err(error)),
            }
        });
    }

    fn forget(&self, request: &Request, ino: INodeNo, times: u64) {
        self.run("forget", request, ino, |ino| {
            self.tree.forget(ino, times);
        });
    }

    fn getattr(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        self.run("getattr", request, ino, |ino| {
            reply_attr(
                reply,
                ino,
                self.tree.attributes(ino, handle.map(Into::into)),
            );
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
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
        self.run("setattr", request, ino, |ino| {
            let change = AttributeChange {
                mode: mode.map(permissions),
                uid,
                gid,
                size,
                times: requested_times(accessed, modified),
            };
            match self
                .tree
                .set_attributes(ino, handle.map(Into::into), &change)
            {
                Err(TreeError::NeedsFetch(placeholder)) => {
                    self.defer(placeholder, request)
                        .set_attributes(ino, change, reply);
                }
                changed => reply_attr(reply, ino, changed),
            }
        });
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.run("readlink", request, ino, |ino| {
            match self.tree.read_link(ino) {
                Ok(target) => reply.data(target.as_bytes()),
                Err(error) => reply.error(error_reply(&error)),
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
        self.run("mknod", request, parent, |parent| {
            let entry = match mode & libc::S_IFMT {
                0 | libc::S_IFREG => self.tree.create_empty_file(parent, name, permissions(mode)),
                _ => Err(TreeError::SpecialFileUnsupported),
            };
            reply_entry(reply, entry);
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
        self.run("mkdir", request, parent, |parent| {
            reply_entry(
                reply,
                self.tree.create_folder(parent, name, permissions(mode)),
            );
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run("unlink", request, parent, |parent| {
            reply_empty(reply, self.tree.remove_file(parent, name));
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run("rmdir", request, parent, |parent| {
            reply_empty(reply, self.tree.remove_folder(parent, name));
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
        self.run("symlink", request, parent, |parent| {
            reply_entry(reply, self.tree.create_symlink(parent, name, target));
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
        self.run("rename", request, parent, |parent| {
            let renamed = replace_mode(flags).and_then(|replace| {
                self.tree
                    .rename((parent, name), (new_parent.into(), new_name), replace)
            });
            reply_empty(reply, renamed);
        });
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        _parent: INodeNo,
        _name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.run("link", request, ino, |_| {
            reply_entry(reply, Err(TreeError::HardLinkUnsupported));
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.run("open", request, ino, |ino| {
            let options = open_options(flags.0);
            match self.tree.open(ino, options, truncate(flags.0)) {
                Err(TreeError::NeedsFetch(placeholder)) => {
                    self.defer(placeholder, request).open(ino, options, reply);
                }
                opened => reply_opened(reply, &self.tree, opened),
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
        self.run("create", request, parent, |parent| {
            let options = open_options(flags);
            let existing = if flags & libc::O_EXCL == 0 {
                Existing::Open(truncate(flags))
            } else {
                Existing::Refuse
            };
            match self
                .tree
                .create(parent, name, permissions(mode), options, existing)
            {
                Err(TreeError::NeedsFetch(placeholder)) => {
                    let arguments = CreateRequest {
                        folder: parent,
                        name: name.to_owned(),
                        mode: permissions(mode),
                    };
                    self.defer(placeholder, request)
                        .create(arguments, options, reply);
                }
                made => reply_created(reply, &self.tree, made),
            }
        });
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.run("read", request, ino, |ino| {
            if let Some(placeholder) = self.tree.missing(handle.into(), offset, u64::from(size)) {
                return self.defer(placeholder, request).read(
                    ino,
                    handle.into(),
                    offset,
                    size,
                    reply,
                );
            }
            READ_BUFFER.with_borrow_mut(|buffer| {
                let size = size as usize;
                if buffer.len() < size {
                    buffer.resize(size, 0);
                }
                match self.tree.read(handle.into(), offset, &mut buffer[..size]) {
                    Ok(count) => reply.data(&buffer[..count]),
                    Err(error) => reply.error(error_reply(&error)),
                }
            });
        });
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.run("write", request, ino, |_| {
            let written = if write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
                self.tree.write_back(handle.into(), offset, bytes)
            } else {
                self.tree.write(
                    handle.into(),
                    offset,
                    bytes,
                    owner.map_or(Writer::Unknown, |owner| Writer::Owner(owner.into())),
                )
            };
            let written = written.and_then(|count| {
                if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                    self.tree.clear_setid_bits(handle.into())?;
                }
                Ok(count)
            });
            reply_written(reply, written);
        });
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.run("flush", request, ino, |_| {
            reply_empty(reply, self.tree.flush(handle.into(), owner.into()));
        });
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.run("release", request, ino, |_| {
            self.tree.close(handle.into());
            reply.ok();
        });
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.run("fsync", request, ino, |_| {
            let scope = if datasync {
                SyncScope::Data
            } else {
                SyncScope::All
            };
            reply_empty(reply, self.tree.sync(handle.into(), scope));
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.run("opendir", request, ino, |ino| {
            match self.tree.open_folder(ino) {
                Ok((handle, cache)) => reply.opened(handle.into(), folder_flags(cache)),
                Err(error) => reply.error(error_reply(&error)),
            }
        });
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.run("readdir", request, ino, |_| {
            let listed = self.tree.list(handle.into(), offset, |found| {
                if reply.add(
                    found.ino.into(),
                    found.next,
                    file_type(found.kind),
                    &found.name,
                ) {
                    FillResult::Full
                } else {
                    FillResult::Added
                }
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error_reply(&error)),
            }
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.run("readdirplus", request, ino, |_| {
            let listed = self
                .tree
                .list_entries(handle.into(), offset, |found, entry| {
                    let (attributes, generation) = match entry {
                        Some(entry) => (
                            attributes(entry.ino, &entry.metadata),
                            entry.generation.into(),
                        ),
                        None => (
                            fuser::FileAttr {
                                kind: file_type(found.kind),
                                ..negative_attributes()
                            },
                            Generation(0),
                        ),
                    };
                    let full = reply.add(
                        found.ino.into(),
                        found.next,
                        &found.name,
                        &CACHE_TTL,
                        &attributes,
                        generation,
                    );
                    if full {
                        FillResult::Full
                    } else {
                        FillResult::Added
                    }
                });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error_reply(&error)),
            }
        });
    }

    fn releasedir(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.run("releasedir", request, ino, |_| {
            self.tree.close_folder(handle.into());
            reply.ok();
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.run("fsyncdir", request, ino, |_| {
            reply_empty(reply, self.tree.sync_folder(handle.into()));
        });
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.run("statfs", request, ino, |_| match self.tree.disk() {
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
            Err(error) => reply.error(error_reply(&error)),
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.run("setxattr", request, ino, |ino| {
            reply_empty(reply, self.tree.set_xattr(ino, name, value, flags));
        });
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.run("getxattr", request, ino, |ino| {
            reply_xattr(reply, size, self.tree.xattr(ino, name));
        });
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.run("listxattr", request, ino, |ino| {
            let names = self.tree.list_xattrs(ino);
            let joined = names.map(|names| {
                names
                    .iter()
                    .flat_map(|name| [name.as_bytes(), b"\0"].concat())
                    .collect()
            });
            reply_xattr(reply, size, joined);
        });
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run("removexattr", request, ino, |ino| {
            reply_empty(reply, self.tree.remove_xattr(ino, name));
        });
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.run("access", request, ino, |ino| {
            let wanted = rustix::fs::Access::from_bits_retain(mask.bits().cast_unsigned());
            reply_empty(reply, self.tree.check_access(ino, wanted));
        });
    }

    fn ioctl(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in: &[u8],
        _out: u32,
        reply: ReplyIoctl,
    ) {
        self.run("ioctl", request, ino, |_| reply.error(Errno::ENOTTY));
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.run("fallocate", request, ino, |_| {
            reply_empty(
                reply,
                self.tree.allocate(handle.into(), offset, length, mode),
            );
        });
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.run("lseek", request, ino, |_| {
            let to = match (whence, u64::try_from(offset)) {
                (libc::SEEK_DATA, Ok(offset)) => Ok(SeekFrom::Data(offset)),
                (libc::SEEK_HOLE, Ok(offset)) => Ok(SeekFrom::Hole(offset)),
                _ => Err(TreeError::InvalidArgument),
            };
            match to.and_then(|to| self.tree.seek(handle.into(), to)) {
                Ok(found) => reply.offset(found.cast_signed()),
                Err(error) => reply.error(error_reply(&error)),
            }
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino: INodeNo,
        from: FileHandle,
        from_offset: u64,
        _to_ino: INodeNo,
        to: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.run("copy_file_range", request, ino, |_| {
            reply_written(
                reply,
                self.tree
                    .copy((from.into(), from_offset), (to.into(), to_offset), length),
            );
        });
    }
}
