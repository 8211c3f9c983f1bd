//! Changes: from the first write of a handle until its close, the file carries the spool's mark, so that half a photo is told
//! from a whole one after a crash. Handles that never write leave no mark.

use std::sync::atomic::Ordering;

use fuser::FileHandle;

use super::{OpenFile, Tree, TreeError, during};

impl Tree {
    /// Marks the file before its bytes change through this handle.
    pub(super) fn begin_change(&self, open: &OpenFile) -> Result<(), TreeError> {
        if open.changing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.spool.marker().opened(&open.file).map_err(during("mark"))
    }

    /// A close(2), the last of this handle or not: what was written so far is meant. Must be answered before close(2)
    /// returns, so that a kill right after it finds the file whole.
    pub(in crate::mount) fn flush(&self, handle: FileHandle) -> Result<(), TreeError> {
        self.end_change(&*self.opened(handle)?)
    }

    /// Notes that the file is whole, once nobody is changing it any more.
    pub(super) fn end_change(&self, open: &OpenFile) -> Result<(), TreeError> {
        if open.changing.swap(false, Ordering::AcqRel) && !self.handles.is_changing(open.id) {
            self.spool.marker().closed(&open.file).map_err(during("mark"))?;
        }
        Ok(())
    }
}
