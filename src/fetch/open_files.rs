//! *The desk*: which files are open, which are on their way back, and which are just being hollowed
//! out. The last excludes the first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use super::file_fetch::Fetch;
use super::{FetchOptions, locked};
use crate::journal::FileId;
use crate::spool::Placeholder;

/// Photos in trouble that are remembered; of more, `status` would tell nobody anything.
const TROUBLES_MAX: usize = 100;

/// All that is open.
#[derive(Debug, Default)]
pub(super) struct Desk {
    manner: FetchOptions,
    files: Mutex<Files>,
    /// Rings when a file is not being hollowed out any more.
    done: Condvar,
    troubles: Mutex<BTreeMap<FileId, String>>,
}

#[derive(Debug, Default)]
struct Files {
    open: HashMap<FileId, usize>,
    fetches: HashMap<FileId, Weak<Fetch>>,
    hollowing: HashSet<FileId>,
}

/// One opening of a file; its end when dropped.
#[derive(Debug)]
pub(super) struct Presence {
    desk: Arc<Desk>,
    id: FileId,
}

/// The right to hollow a file out: nobody opens it before this is dropped.
#[derive(Debug)]
pub(super) struct Hollowing {
    desk: Arc<Desk>,
    id: FileId,
}

impl Desk {
    pub(super) fn new(manner: FetchOptions) -> Self {
        Self {
            manner,
            ..Self::default()
        }
    }

    /// Notes that the file is open; answers its fetch if bytes of it are missing.
    pub(super) fn open(
        self: &Arc<Self>,
        id: FileId,
        file: &File,
    ) -> io::Result<(Presence, Option<Arc<Fetch>>)> {
        let being_hollowed = |files: &mut Files| files.hollowing.contains(&id);
        let mut files = self
            .done
            .wait_while(locked(&self.files), being_hollowed)
            .unwrap_or_else(PoisonError::into_inner);
        let fetch = self.join(&mut files, id, file)?;
        *files.open.entry(id).or_default() += 1;
        Ok((
            Presence {
                desk: Arc::clone(self),
                id,
            },
            fetch,
        ))
    }

    /// Notes that a file is open that was just made.
    pub(super) fn made(self: &Arc<Self>, id: FileId) -> Presence {
        *locked(&self.files).open.entry(id).or_default() += 1;
        Presence {
            desk: Arc::clone(self),
            id,
        }
    }

    fn join(&self, files: &mut Files, id: FileId, file: &File) -> io::Result<Option<Arc<Fetch>>> {
        if let Some(fetch) = files
            .fetches
            .get(&id)
            .and_then(Weak::upgrade)
            .filter(|fetch| fetch.is_live())
        {
            return Ok(Some(fetch));
        }
        let Some(placeholder) = Placeholder::of(file)? else {
            return Ok(None);
        };
        let fetch = Arc::new(Fetch::new(id, file, placeholder, &self.manner)?);
        files.fetches.retain(|_, fetch| fetch.strong_count() > 0);
        files.fetches.insert(id, Arc::downgrade(&fetch));
        Ok(Some(fetch))
    }

    /// The fetch of a file that is still a placeholder, if somebody has it open.
    pub(super) fn fetch_of(&self, id: FileId) -> Option<Arc<Fetch>> {
        let files = locked(&self.files);
        // Asked for every `stat`: almost always there is no fetch at all.
        if files.fetches.is_empty() {
            return None;
        }
        files
            .fetches
            .get(&id)
            .and_then(Weak::upgrade)
            .filter(|fetch| fetch.is_live())
    }

    /// How many photos are being fetched.
    pub(super) fn fetching(&self) -> usize {
        let fetches: Vec<_> = locked(&self.files)
            .fetches
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        fetches.iter().filter(|fetch| fetch.is_at_work()).count()
    }

    /// The right to hollow a file out; nothing if it is open, or somebody has it already.
    pub(super) fn hollow(self: &Arc<Self>, id: FileId) -> Option<Hollowing> {
        let mut files = locked(&self.files);
        let in_use = files.open.contains_key(&id)
            || files.fetches.get(&id).and_then(Weak::upgrade).is_some();
        (!in_use && files.hollowing.insert(id)).then(|| Hollowing {
            desk: Arc::clone(self),
            id,
        })
    }

    pub(super) fn note_trouble(&self, id: FileId, why: String) {
        let mut troubles = locked(&self.troubles);
        if troubles.len() < TROUBLES_MAX || troubles.contains_key(&id) {
            troubles.insert(id, why);
        }
    }
    pub(super) fn forget_trouble(&self, id: FileId) {
        locked(&self.troubles).remove(&id);
    }
    pub(super) fn trouble(&self, id: FileId) -> Option<String> {
        locked(&self.troubles).get(&id).cloned()
    }
    pub(super) fn troubles(&self) -> Vec<(FileId, String)> {
        locked(&self.troubles)
            .iter()
            .map(|(id, why)| (*id, why.clone()))
            .collect()
    }
}

impl Presence {
    pub(super) const fn id(&self) -> FileId {
        self.id
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut files = locked(&self.desk.files);
        if let Some(count) = files.open.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                files.open.remove(&self.id);
            }
        }
        if files
            .fetches
            .get(&self.id)
            .is_some_and(|fetch| fetch.strong_count() == 0)
        {
            files.fetches.remove(&self.id);
        }
    }
}

impl Drop for Hollowing {
    fn drop(&mut self) {
        locked(&self.desk.files).hollowing.remove(&self.id);
        self.desk.done.notify_all();
    }
}
