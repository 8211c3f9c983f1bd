//! Handing over: how an open file comes to its handle, with a mark, a way and a note to intake; and
//! how it goes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fuser::FileHandle;
use heirloom_crash::CrashPoint;
use heirloom_protocol::LibraryPath;

use super::{OpenFile, SpoolPath, Tree, TreeError, Truncate, during, locked};
use crate::fetch::OpenGuard;
use crate::journal::FileId;
use crate::mount::backing::Backing;
use crate::mount::marks::{Carrier, Hand};
use crate::mount::passthrough::{Passage, Way, Wish};
use crate::mount::pool::Spare;
use crate::passthrough_helper::Lender;
use crate::spool::{Access, Durability, Metadata, OpenOptions, Spool, SpoolError};

/// Where less than this is free, writes go through us, so that we see which of them the disk
/// refuses: what the kernel writes without us, it also refuses without us.
const NEARLY_FULL_BYTES: u64 = 512 << 20;

/// Where less than this is left when a program closes what the kernel wrote for it, some of that
/// may have been refused: a disk is full before its last byte, for it keeps some back for its own
/// use.
const FULL_BYTES: u64 = 32 << 20;

/// What spare files are made with, and most programs ask for.
const USUAL_MODE: u16 = 0o644;

/// What spare files are open for, whatever a program wants with them.
const USUAL_OPENING: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    durability: Durability::Lazy,
};

/// Where an open file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there.
    Found,
    /// Opening made it.
    Made,
}

/// An open file of the spool, on its way to a handle.
pub(super) struct Made {
    pub(super) file: File,
    pub(super) id: FileId,
    /// Its way, if it was without a name first and so is marked, too.
    pub(super) way: Option<Arc<Way>>,
}

impl Made {
    pub(super) fn of(file: File) -> Result<Self, TreeError> {
        let id = Metadata::of(&file).map_err(during("stat"))?.id;
        Ok(Self {
            file,
            id,
            way: None,
        })
    }
}

impl Tree {
    /// Makes a file: a spare one with a new name, if there is one and it is as good. Whatever keeps
    /// the spare one from its name, making one says it better.
    ///
    /// A file gets its mark before its name, so that no power cut leaves the name of a photo alone:
    /// an empty file without a mark is one that its program left empty. Only a disk without
    /// nameless files, and folders that hand their group down, do it the other way round.
    pub(super) fn make(
        &self,
        path: &LibraryPath,
        mode: u16,
        opening: OpenOptions,
    ) -> Result<Made, SpoolError> {
        let is_plain = opening.durability == Durability::Lazy && opening.access.can_write();
        if let Some(spare) = is_plain.then(|| self.passage.spare()).flatten() {
            if self.has_room() && self.spool.link_spare(&spare.file, path, mode).is_ok() {
                let Spare { file, id, backing } = spare;
                return Ok(Made {
                    file,
                    id,
                    way: Some(self.passage.way_of_spare(id, backing)),
                });
            }
            self.passage.give_back(spare);
        }
        if opening.access.can_write()
            && let Some(made) = self.make_marked(path, mode, opening)
        {
            return Ok(made);
        }
        let file = self.spool.create_file(path, opening, mode)?;
        let stat = |source| SpoolError {
            doing: "stat spooled file",
            path: path.as_str().into(),
            source,
        };
        let id = Metadata::of(&file).map_err(stat)?.id;
        Ok(Made {
            file,
            id,
            way: None,
        })
    }

    /// The same as with a spare file, for a program that wants more of it, or when there is none.
    fn make_marked(&self, path: &LibraryPath, mode: u16, opening: OpenOptions) -> Option<Made> {
        let file = self.spool.create_spare(opening, mode).ok()?;
        let id = Metadata::of(&file).ok()?.id;
        let way = self.passage.way(id, &file, self.wish(opening.access, None));
        let carrier = if way.is_the_kernels() {
            Carrier::Kernel
        } else {
            Carrier::Us
        };
        let marked = mark_new(&self.spool, &file, carrier);
        if marked.is_err() || self.spool.link_spare(&file, path, mode).is_err() {
            drop(way);
            self.passage.forget(id);
            return None;
        }
        Some(Made {
            file,
            id,
            way: Some(way),
        })
    }

    pub(super) fn taking(
        &self,
        made: Made,
        access: Access,
        origin: Origin,
        stay: Option<OpenGuard>,
    ) -> OpenFile {
        let Made { file, id, way } = made;
        if origin == Origin::Made {
            heirloom_crash::reached(CrashPoint::FileCreated);
        }
        let is_prepared = way.is_some();
        let way = way.unwrap_or_else(|| {
            self.passage
                .way(id, &file, self.wish(access, stay.as_ref()))
        });
        let carrier = if way.is_the_kernels() {
            Carrier::Kernel
        } else {
            Carrier::Us
        };
        let pen = match (access.can_write(), is_prepared) {
            (false, _) => None,
            (true, true) => Some(self.marks.pen_of_prepared(id, carrier)),
            (true, false) => Some(self.marks.pen(id, carrier)),
        };
        let name_is_new = AtomicBool::new(origin == Origin::Made);
        OpenFile {
            file,
            id,
            access,
            name_is_new,
            pen,
            stay,
            way,
            is_prepared,
        }
    }

    /// What is missing of a file the kernel would read as zeros.
    fn wish(&self, access: Access, stay: Option<&OpenGuard>) -> Wish {
        let is_absent = stay.is_some_and(|stay| stay.placeholder().is_some());
        if is_absent || (access.can_write() && !self.has_room()) {
            Wish::Ours
        } else {
            Wish::Fast
        }
    }

    fn has_room(&self) -> bool {
        self.free_bytes()
            .is_some_and(|free| free >= NEARLY_FULL_BYTES)
    }

    /// As far as the disk tells. Who may pass files to the kernel may also use what is kept back
    /// for the administrator.
    fn free_bytes(&self) -> Option<u64> {
        self.spool
            .disk()
            .ok()
            .map(|disk| disk.f_bfree.saturating_mul(disk.f_frsize))
    }

    /// Tells intake before the first byte can change, then empties the file if asked to.
    pub(super) fn announce(
        &self,
        open: OpenFile,
        path: Option<&LibraryPath>,
        truncate: Truncate,
    ) -> Result<FileHandle, TreeError> {
        let writes = open.access.can_write();
        if truncate == Truncate::No
            && let Err(error) = open.must_be_whole()
        {
            // Nobody was told of it yet.
            self.let_go(Arc::new(open));
            return Err(error);
        }
        if let Some(path) = path.filter(|_| writes) {
            self.notes.opened_for_write(open.id, path);
        }
        let open = Arc::new(open);
        if writes {
            let begun = self
                .begin_live(&open, truncate)
                .and_then(|()| match truncate {
                    Truncate::Yes => self.empty_to_write(&open),
                    Truncate::No => Ok(()),
                });
            if let Err(error) = begun {
                return self.give_up(open, path).and(Err(error));
            }
        } else if truncate == Truncate::Yes {
            self.empty_to_read(&open)?;
            if let Some(path) = path {
                self.notes.changed(open.id, path);
            }
        }
        Ok(self.handles.open_file(open))
    }

    /// Marks what the kernel will write without us.
    fn begin_live(&self, open: &OpenFile, truncate: Truncate) -> Result<(), TreeError> {
        match &open.pen {
            Some(pen) if open.way.is_the_kernels() && !open.is_prepared => self
                .marks
                .begin_live(pen, &open.file, truncate)
                .map_err(during("mark")),
            Some(_) | None => Ok(()),
        }
    }

    /// Undoes an opening that was announced.
    pub(super) fn give_up(
        &self,
        open: Arc<OpenFile>,
        path: Option<&LibraryPath>,
    ) -> Result<(), TreeError> {
        let ended = self.end_change(&open, Hand::Anybody);
        let (id, wrote) = (open.id, open.pen.is_some());
        self.let_go(open);
        if let Some(path) = path.filter(|_| wrote) {
            self.notes.closed_after_write(id, path);
        }
        ended
    }

    /// The last close: intake may look at the file now.
    pub(in crate::mount) fn close(&self, handle: FileHandle) {
        let Some(open) = self.handles.close_file(handle) else {
            return;
        };
        if let Err(error) = self
            .end_change(&open, Hand::Anybody)
            .and_then(|()| self.doubt_if_full(&open))
        {
            // Nobody waits for this answer; a file that keeps its mark is shown as torn.
            tracing::warn!(file = open.id.0, %error, "the mark of a closed file could not be changed");
        }
        if open.pen.is_some() {
            heirloom_crash::reached(CrashPoint::FileClosed);
        }
        self.conclude(open);
    }

    /// The mount has ended. The kernel closes files without waiting for us, and what it had not
    /// told us by then it never will: a photo copied in just before `umount` may still look open.
    /// What no program closed keeps its mark: it may be half a photo.
    pub(in crate::mount) fn close_all(&self) {
        for open in self
            .handles
            .open_files()
            .into_iter()
            .filter_map(|handle| self.handles.close_file(handle))
        {
            self.conclude(open);
        }
    }

    fn conclude(&self, open: Arc<OpenFile>) {
        let (id, wrote) = (open.id, open.pen.is_some());
        let may_have_mapped = open.access == Access::ReadWrite && open.way.is_the_kernels();
        // First, so that intake finds nobody writing.
        self.let_go(open);
        if may_have_mapped {
            self.passage.outdate(locked(&self.inodes).number(id));
        }
        if wrote {
            let _names = self.walking();
            if let Ok(SpoolPath::Entry(path)) = self.place(id) {
                self.notes.closed_after_write(id, &path);
            }
        }
    }

    fn let_go(&self, open: Arc<OpenFile>) {
        if let Some(pen) = &open.pen {
            self.marks.put_down(pen);
        }
        self.passage.leave(open);
    }

    fn doubt_if_full(&self, open: &OpenFile) -> Result<(), TreeError> {
        let may_be_cut = open.pen.is_some()
            && open.way.is_the_kernels()
            && self.free_bytes().is_none_or(|free| free < FULL_BYTES);
        if may_be_cut {
            tracing::warn!(
                file = open.id.0,
                "the spool's disk is full: a file just written may not be whole"
            );
            self.marks.doubt(&open.file).map_err(during("mark"))?;
        }
        Ok(())
    }

    /// The ways of this tree's open files, for whoever mounts it.
    pub(in crate::mount) fn passage(&self) -> Arc<Passage> {
        Arc::clone(&self.passage)
    }

    /// Makes a spare file, and lends it to the kernel if there is a `lender`.
    pub(in crate::mount) fn spare_maker(
        &self,
    ) -> impl Fn(Option<&Arc<Lender>>) -> io::Result<Spare> + Send + 'static {
        let spool = self.spool.clone();
        move |lender| {
            let file = spool
                .create_spare(USUAL_OPENING, USUAL_MODE)
                .map_err(|error| error.source)?;
            let backing = lender
                .map(|lender| Backing::of(&file, lender))
                .transpose()?;
            mark_new(
                &spool,
                &file,
                backing.as_ref().map_or(Carrier::Us, |_| Carrier::Kernel),
            )?;
            Ok(Spare {
                id: Metadata::of(&file)?.id,
                file,
                backing,
            })
        }
    }
}

/// The mark of a file that has no name yet, and a program that will write it.
fn mark_new(spool: &Spool, file: &File, carrier: Carrier) -> io::Result<()> {
    match carrier {
        Carrier::Kernel => spool.marker().mark_open_passthrough(file),
        Carrier::Us => spool.marker().mark_open(file),
    }
}
