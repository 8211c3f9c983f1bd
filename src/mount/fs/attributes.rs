//! Attributes of files: reading and changing them.

use std::ffi::OsString;

use super::target::Target;
use super::tree::{Tree, expect_id};
use crate::mount::types::{AttributeChange, HandleId, Ino, TreeError, Writer};
use crate::spool::{self, Metadata, SpoolPath};

impl Tree {
    pub(in crate::mount) fn attributes(
        &self,
        ino: Ino,
        handle: Option<HandleId>,
    ) -> Result<Metadata, TreeError> {
        let stat = |file| Metadata::of(file).map_err(TreeError::during("stat"));
        if let Some(open) = handle.and_then(|handle| self.handles.file(handle)) {
            return stat(&open.file).map(|metadata| self.shown(metadata));
        }
        let _names = self.lock_names();
        let id = self.id(ino);
        match self.path(id) {
            Ok(place) => {
                expect_id(self.spool.metadata(&place)?, id).map(|metadata| self.shown(metadata))
            }
            Err(TreeError::Removed(_)) if let Some(folder) = self.handles.folder_with_id(id) => {
                let reader = folder.reader.lock();
                reader.own_metadata().map_err(TreeError::during("stat"))
            }
            Err(error) => stat(&self.open_unlinked(id, error)?.file),
        }
    }

    /// Changes attributes and size. If a step fails, the steps before it stay done, as with the
    /// system calls that the kernel makes of the request.
    pub(in crate::mount) fn set_attributes(
        &self,
        ino: Ino,
        handle: Option<HandleId>,
        change: &AttributeChange,
    ) -> Result<Metadata, TreeError> {
        let _names = self.lock_names();
        let target = self.target(ino, handle)?;
        if let Some(size) = change.size {
            if let Target::Open(open) = &target {
                self.begin_write(open, Writer::Unknown)?;
            }
            let emptied = self.before_resize(&target, self.id(ino), size)?;
            target.resize(size)?;
            self.after_resize(emptied.as_ref())?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            spool::set_owner(&target, change.uid, change.gid)
                .map_err(TreeError::during("set the owner of"))?;
        }
        if let Some(mode) = change.mode {
            spool::set_mode(&target, mode).map_err(TreeError::during("set the mode of"))?;
        }
        if let Some(times) = &change.times {
            spool::set_times(&target, times).map_err(TreeError::during("set the times of"))?;
        }
        let metadata = Metadata::of(&target).map_err(TreeError::during("stat"))?;
        self.record_mtime(&target, change, metadata)?;
        let metadata = self.shown(metadata);
        // With a handle, its release is reported.
        if handle.is_none() && (change.size.is_some() || change.times.is_some()) {
            self.notify(metadata, |id, path| self.listener.changed(id, path));
        }
        Ok(metadata)
    }

    pub(in crate::mount) fn read_link(&self, ino: Ino) -> Result<OsString, TreeError> {
        let _names = self.lock_names();
        match self.path(self.id(ino))? {
            SpoolPath::Root => Err(TreeError::InvalidName),
            SpoolPath::Entry(path) => Ok(self.spool.read_link(&path)?),
        }
    }

    /// Checks access for the mount's owner: the disk checks it for this process, which runs as the
    /// owner.
    pub(in crate::mount) fn check_access(
        &self,
        ino: Ino,
        wanted: rustix::fs::Access,
    ) -> Result<(), TreeError> {
        let _names = self.lock_names();
        spool::check_access(self.target(ino, None)?, wanted)
            .map_err(TreeError::during("check access to"))
    }
}
