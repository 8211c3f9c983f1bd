//! Passthrough: which open files the kernel serves by itself, straight from the spool.
//!
//! It needs the right to lend files to the kernel, so it is tried when the mount starts: by
//! ourselves, and through a helper; if both fail, all goes through us.
//!
//! The kernel wants one way for all handles of a file while any is open, and one backing for all
//! that take the kernel's way. So the way is chosen by who opens the file first, and kept by file.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use fuser::{INodeNo, Notifier};

use super::backing::Backing;
use super::handles::OpenFile;
use super::locked;
use super::pool::{Pool, Spare};
use crate::journal::FileId;
use crate::passthrough_helper::Lender;

/// How reads and writes of open files reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoPath {
    /// The kernel reads and writes the spool's files itself.
    Passthrough,
    /// Through this process; writes past the page cache where nobody reads.
    Direct,
}

/// Which of them the person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum IoMode {
    /// Passthrough where it is allowed (it needs the right to administer the system, or the helper
    /// that has it), else direct.
    #[default]
    Auto,
    /// Through this program, whatever is allowed.
    Direct,
}

/// The way of one open file.
#[derive(Debug)]
pub(super) enum Way {
    /// Served by the kernel.
    Kernel(Backing),
    /// Served by us.
    Ours,
}

/// Who may take which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The kernel's, if it is there.
    Fast,
    /// Ours: we must see what is read or written.
    Ours,
}

/// The ways of all open files of a mount, and the spare files.
#[derive(Debug, Default)]
pub(super) struct Passage {
    lender: OnceLock<Weak<Lender>>,
    notifier: OnceLock<Notifier>,
    pool: OnceLock<Pool>,
    ways: Mutex<HashMap<FileId, Weak<Way>>>,
}

impl Passage {
    /// The kernel takes files from us, and hears what we notice.
    pub(super) fn open(&self, lender: &Arc<Lender>, notifier: Notifier) {
        self.lender.get_or_init(|| Arc::downgrade(lender));
        self.notifier.get_or_init(|| notifier);
    }

    /// Metadata that the kernel remembers may be out of date: of what is written through a mapped
    /// page, it does not see the time.
    pub(super) fn outdate(&self, number: INodeNo) {
        let Some(notifier) = self.notifier.get() else {
            return;
        };
        if let Err(error) = notifier.inval_inode(number, -1, 0) {
            tracing::trace!(%error, "the kernel does not know this file any more");
        }
    }

    /// Spare files are made ahead from now on.
    pub(super) fn stock(&self, pool: Pool) {
        self.pool.get_or_init(|| pool);
    }

    /// A file made ahead, if one is left.
    pub(super) fn spare(&self) -> Option<Spare> {
        self.pool.get()?.take()
    }

    /// It was not needed.
    pub(super) fn give_back(&self, spare: Spare) {
        if let Some(pool) = self.pool.get() {
            pool.give_back(spare);
        }
    }

    pub(super) fn io_path(&self) -> IoPath {
        if self.lender.get().is_some() {
            IoPath::Passthrough
        } else {
            IoPath::Direct
        }
    }

    /// The way for one more handle of a file; `wish` decides if it is the first, and the kernel
    /// takes the file.
    pub(super) fn way(&self, id: FileId, file: &File, wish: Wish) -> Arc<Way> {
        let Some(lender) = self.lender.get() else {
            return Arc::new(Way::Ours);
        };
        let mut ways = locked(&self.ways);
        if let Some(way) = ways.get(&id).and_then(Weak::upgrade) {
            return way;
        }
        let way = Arc::new(match (wish, lender.upgrade()) {
            (Wish::Fast, Some(lender)) => Backing::of(file, &lender).map_or_else(
                |error| {
                    tracing::debug!(%error, "a file is not passed through");
                    Way::Ours
                },
                Way::Kernel,
            ),
            (Wish::Fast | Wish::Ours, _) => Way::Ours,
        });
        ways.insert(id, Arc::downgrade(&way));
        way
    }

    /// The way of a file that was spare, for its first handle.
    pub(super) fn way_of_spare(&self, id: FileId, backing: Option<Backing>) -> Arc<Way> {
        let way = Arc::new(backing.map_or(Way::Ours, Way::Kernel));
        if self.lender.get().is_some() {
            locked(&self.ways).insert(id, Arc::downgrade(&way));
        }
        way
    }

    /// A file that was to get a name did not.
    pub(super) fn forget(&self, id: FileId) {
        remove_unused(&mut locked(&self.ways), id);
    }

    /// A handle is gone; its file is closed when this returns, unless somebody still uses it.
    pub(super) fn leave(&self, open: Arc<OpenFile>) {
        let id = open.id;
        if self.lender.get().is_none() {
            return drop(open);
        }
        let mut ways = locked(&self.ways);
        drop(open);
        remove_unused(&mut ways, id);
    }
}

fn remove_unused(ways: &mut HashMap<FileId, Weak<Way>>, id: FileId) {
    if ways.get(&id).is_some_and(|way| way.strong_count() == 0) {
        ways.remove(&id);
    }
}

impl Way {
    pub(super) fn is_the_kernels(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }
}
