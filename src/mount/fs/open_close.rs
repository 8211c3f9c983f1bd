//! Opening and closing files: from the open to its handle, and from the close to the report to the
//! listener.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use heirloom_crash::CrashPoint;
use heirloom_protocol::LibraryPath;

use super::open_file::OpenFile;
use super::tree::{Tree, expect_id};
use crate::fetch::OpenGuard;
use crate::journal::FileId;
use crate::mount::io::passthrough::{IoRoute, RoutePreference};
use crate::mount::types::{HandleId, Ino, TreeError, Truncate, Writer};
use crate::spool::{self, Access, Metadata, OpenOptions, SpoolPath};

/// With less free space than this, the daemon serves writes, so that it sees which of them the disk
/// refuses. It would not see those of the kernel.
const LOW_SPACE_BYTES: u64 = 512 << 20;

/// With less free space than this when a program closes a file that the kernel wrote, the disk may
/// have refused some of the bytes: a disk is full before its last byte, because it reserves some
/// for its own use.
const FULL_BYTES: u64 = 32 << 20;

/// How an open file came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It existed.
    Existing,
    /// The open created it.
    Created,
}

/// An open file of the spool that has no handle yet.
pub(super) struct SpoolFile {
    pub(super) file: File,
    pub(super) id: FileId,
    /// The route of a file that was marked as open before it got its name.
    pub(super) marked_route: Option<Arc<IoRoute>>,
}

impl SpoolFile {
    /// A file that is not marked as open.
    pub(super) fn unmarked(file: File) -> Result<Self, TreeError> {
        let id = Metadata::of(&file).map_err(TreeError::during("stat"))?.id;
        Ok(Self {
            file,
            id,
            marked_route: None,
        })
    }
}

impl Tree {
    pub(in crate::mount) fn open(
        &self,
        ino: Ino,
        options: OpenOptions,
        truncate: Truncate,
    ) -> Result<HandleId, TreeError> {
        let _names = self.lock_names();
        let id = self.id(ino);
        let (file, path) = match self.path(id) {
            Ok(SpoolPath::Root) => return Err(TreeError::InvalidName),
            Ok(SpoolPath::Entry(path)) => (self.spool.open_file(&path, options)?, Some(path)),
            Err(error) => {
                let unlinked = self.open_unlinked(id, error)?;
                let file = spool::reopen(&unlinked.file, options);
                (file.map_err(TreeError::during("reopen"))?, None)
            }
        };
        expect_id(Metadata::of(&file).map_err(TreeError::during("stat"))?, id)?;
        let guard = self.pin_data(id, &file)?;
        let file = SpoolFile {
            file,
            id,
            marked_route: None,
        };
        let open = self.on_open(file, options.access, Origin::Existing, guard);
        self.notify_opened(open, path.as_ref(), truncate)
    }

    /// Chooses the route of an open file, and tracks its writes.
    pub(super) fn on_open(
        &self,
        file: SpoolFile,
        access: Access,
        origin: Origin,
        eviction_guard: Option<OpenGuard>,
    ) -> OpenFile {
        let SpoolFile {
            file,
            id,
            marked_route,
        } = file;
        if origin == Origin::Created {
            heirloom_crash::reached(CrashPoint::FileCreated);
        }
        let is_marked = marked_route.is_some();
        let route = marked_route.unwrap_or_else(|| {
            let preference = self.route_preference(access, eviction_guard.as_ref());
            self.passthrough.route(id, &file, preference)
        });
        let write_path = route.write_path();
        let write_handle = match (access.can_write(), is_marked) {
            (false, _) => None,
            (true, true) => Some(self.write_tracker.track_marked(id, write_path)),
            (true, false) => Some(self.write_tracker.track(id, write_path)),
        };
        OpenFile {
            file,
            id,
            access,
            name_is_new: AtomicBool::new(origin == Origin::Created),
            write_handle,
            eviction_guard,
            route,
            is_marked,
        }
    }

    /// The daemon serves placeholders, because the kernel would read missing bytes as zeros, and
    /// writes to a disk that is nearly full.
    pub(super) fn route_preference(
        &self,
        access: Access,
        eviction_guard: Option<&OpenGuard>,
    ) -> RoutePreference {
        let is_placeholder = eviction_guard.is_some_and(|guard| guard.placeholder().is_some());
        if is_placeholder || (access.can_write() && !self.has_space()) {
            RoutePreference::Daemon
        } else {
            RoutePreference::Kernel
        }
    }

    pub(super) fn has_space(&self) -> bool {
        self.free_bytes()
            .is_some_and(|free| free >= LOW_SPACE_BYTES)
    }

    /// Free space, as far as the disk tells. It includes what is reserved for the administrator: a
    /// process that may pass files to the kernel may also use that.
    fn free_bytes(&self) -> Option<u64> {
        self.spool
            .disk()
            .ok()
            .map(|disk| disk.f_bfree.saturating_mul(disk.f_frsize))
    }

    /// Reports an open for writing before the first byte can change, then empties the file if asked
    /// to, and gives it a handle.
    pub(super) fn notify_opened(
        &self,
        open: OpenFile,
        path: Option<&LibraryPath>,
        truncate: Truncate,
    ) -> Result<HandleId, TreeError> {
        let can_write = open.access.can_write();
        if truncate == Truncate::No
            && let Err(error) = open.require_complete()
        {
            // Nothing was reported yet.
            self.release(Arc::new(open));
            return Err(error);
        }
        if let Some(path) = path.filter(|_| can_write) {
            self.listener.opened_for_write(open.id, path);
        }
        let open = Arc::new(open);
        if can_write {
            let begun = self
                .begin_kernel_write(&open, truncate)
                .and_then(|()| match truncate {
                    Truncate::Yes => self.empty_writable(&open),
                    Truncate::No => Ok(()),
                });
            if let Err(error) = begun {
                return self.abort_open(open, path).and(Err(error));
            }
        } else if truncate == Truncate::Yes {
            self.empty_read_only(&open)?;
            if let Some(path) = path {
                self.listener.changed(open.id, path);
            }
        }
        Ok(self.handles.insert_file(open))
    }

    /// Marks a file that the kernel will write.
    fn begin_kernel_write(&self, open: &OpenFile, truncate: Truncate) -> Result<(), TreeError> {
        match &open.write_handle {
            Some(handle) if open.route.is_kernel() && !open.is_marked => self
                .write_tracker
                .begin_kernel_write(handle, &open.file, truncate)
                .map_err(TreeError::during("mark")),
            Some(_) | None => Ok(()),
        }
    }

    /// Empties a file that was opened for writing (`O_TRUNC`).
    fn empty_writable(&self, open: &OpenFile) -> Result<(), TreeError> {
        self.begin_write(open, Writer::Unknown)?;
        open.discard_remote()?;
        self.truncate_to_zero(&open.file)
    }

    /// Undoes an open that was reported.
    pub(super) fn abort_open(
        &self,
        open: Arc<OpenFile>,
        path: Option<&LibraryPath>,
    ) -> Result<(), TreeError> {
        let finished = self.finish_write(&open, Writer::Unknown);
        let (id, could_write) = (open.id, open.write_handle.is_some());
        self.release(open);
        if let Some(path) = path.filter(|_| could_write) {
            self.listener.closed_after_write(id, path);
        }
        finished
    }

    /// Closes a handle, after the last close(2) of its descriptors.
    pub(in crate::mount) fn close(&self, handle: HandleId) {
        let Some(open) = self.handles.remove_file(handle) else {
            return;
        };
        if let Err(error) = self
            .finish_write(&open, Writer::Unknown)
            .and_then(|()| self.doubt_if_disk_is_full(&open))
        {
            // No program waits for a reply to this request. A file that keeps its mark is shown as
            // incomplete.
            tracing::warn!(
                file = open.id.0,
                %error,
                "the write state of a closed file could not be updated"
            );
        }
        if open.write_handle.is_some() {
            heirloom_crash::reached(CrashPoint::FileClosed);
        }
        self.notify_closed(open);
    }

    /// Closes all handles when the mount has ended.
    ///
    /// The kernel does not wait for the reply to a close, and drops those not yet sent when the
    /// mount ends, so a photo copied in just before `umount` may still be open here. A file that no
    /// program closed keeps its mark: it may be half a photo.
    pub(in crate::mount) fn close_all(&self) {
        for handle in self.handles.open_files() {
            if let Some(open) = self.handles.remove_file(handle) {
                self.notify_closed(open);
            }
        }
    }

    fn notify_closed(&self, open: Arc<OpenFile>) {
        let (id, could_write) = (open.id, open.write_handle.is_some());
        // A write through a mapping changes the file's times without the kernel's FUSE layer
        // noticing.
        let attributes_may_be_stale = open.access == Access::ReadWrite && open.route.is_kernel();
        // First, so that the listener finds no open writer.
        self.release(open);
        if attributes_may_be_stale && let Some(invalidator) = self.invalidator() {
            let ino = self.inodes.lock().ino(id);
            invalidator.invalidate_attributes(ino);
        }
        if could_write {
            let _names = self.lock_names();
            if let Ok(SpoolPath::Entry(path)) = self.path(id) {
                self.listener.closed_after_write(id, &path);
            }
        }
    }

    fn release(&self, open: Arc<OpenFile>) {
        if let Some(handle) = &open.write_handle {
            self.write_tracker.release(handle);
        }
        self.passthrough.release(open.id, open);
    }

    fn doubt_if_disk_is_full(&self, open: &OpenFile) -> Result<(), TreeError> {
        let may_be_cut_off = open.write_handle.is_some()
            && open.route.is_kernel()
            && self.free_bytes().is_none_or(|free| free < FULL_BYTES);
        if may_be_cut_off {
            tracing::warn!(
                file = open.id.0,
                "the spool's disk is full: a file just written may be incomplete"
            );
            self.write_tracker
                .mark_incomplete(&open.file)
                .map_err(TreeError::during("mark"))?;
        }
        Ok(())
    }
}
