//! Inodes: what the kernel knows of the tree by number, and where that is by name.
//!
//! The kernel names a thing by the inode number that we once told it, and keeps the number until it
//! says "forget". We tell it the number on the spool's disk, so numbers are the same after every
//! remount. A name is kept once, with the number of its folder: renaming a folder of a million
//! photos moves one entry, and paths are put together by walking up.
//!
//! A number may come back: the disk gives a removed file's number to the next new one while the
//! kernel still knows the old. Then the *generation* tells them apart.
//!
//! Hundreds of thousands may be known at once, so an entry is 28 bytes, its index 5 to 10, and its
//! name no more than its bytes.

use std::hash::{BuildHasher, RandomState};

use fuser::{Generation, INodeNo};
use hashbrown::HashTable;
use heirloom_protocol::LibraryPath;

use crate::journal::FileId;
use crate::spool::{Kind, SpoolPath};

mod texts;

use texts::{Text, Texts};

/// Everything the kernel knows now.
#[derive(Debug)]
pub(super) struct Inodes {
    /// Slot 0 is the top of the tree, and never goes.
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: RandomState,
    texts: Texts,
    /// Where the choice of those to part with goes on.
    hand: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// As bytes, so that the slot is aligned to 4 and 28 bytes long, not to 8 and 32.
    id: [u8; 8],
    folder: u32,
    /// What the kernel will forget, plus one for every slot whose folder this is.
    holders: u32,
    text: Text,
    generation: u16,
    standing: Standing,
    is_folder: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has a name in a folder.
    Named,
    /// It lost its name and may get another.
    Nameless,
    /// It was removed: whatever gets this number next is something else.
    Removed,
}

/// Why a number leads to no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// We never told the kernel this number.
    Unknown,
    /// It, or a folder above it, was removed.
    Nameless,
    /// The path has grown over what Linux can say in one call.
    TooLong,
}

/// Below this many slots nothing is gained by shrinking.
const SHRINK_FROM: usize = 1024;
/// The slot of the top.
const TOP: u32 = 0;
/// FUSE's number of the top (`FUSE_ROOT_ID`).
const ROOT_NUMBER: u64 = INodeNo::ROOT.0;

impl Inodes {
    /// Knows the top only.
    pub(super) fn new(top: FileId) -> Self {
        let mut this = Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashTable::new(),
            hasher: RandomState::new(),
            texts: Texts::default(),
            hand: TOP,
        };
        this.insert(top);
        this.slots[TOP as usize].holders = 1;
        this
    }

    /// The kernel's number for something in the spool: the same, save that FUSE calls the top 1.
    pub(super) fn number(&self, id: FileId) -> INodeNo {
        INodeNo(self.exchange_top(id.0))
    }

    /// What the kernel's number means in the spool.
    pub(super) fn id(&self, number: INodeNo) -> FileId {
        FileId(self.exchange_top(number.0))
    }

    /// The top is told as 1, so whatever has number 1 on the disk (on tmpfs, something may) is told
    /// as the top's.
    fn exchange_top(&self, number: u64) -> u64 {
        let top = self.slots[TOP as usize].id().0;
        match number {
            ROOT_NUMBER => top,
            number if number == top => ROOT_NUMBER,
            number => number,
        }
    }

    /// Where it stands now.
    pub(super) fn place(&self, id: FileId) -> Result<SpoolPath, Lost> {
        let mut at = self.find(id).ok_or(Lost::Unknown)?;
        let (mut names, mut bytes) = (Vec::new(), 0);
        while at != TOP {
            let slot = &self.slots[at as usize];
            if slot.standing != Standing::Named {
                return Err(Lost::Nameless);
            }
            let name = self.texts.get(slot.text);
            bytes += name.len() + 1;
            if bytes > LibraryPath::BYTES_MAX + 1 {
                return Err(Lost::TooLong);
            }
            names.push(name);
            at = slot.folder;
        }
        if names.is_empty() {
            return Ok(SpoolPath::Root);
        }
        names.reverse();
        LibraryPath::new(names.join("/"))
            .map(SpoolPath::Entry)
            .map_err(|_| Lost::TooLong)
    }

    /// How many the kernel knows, the top among them.
    pub(super) fn known(&self) -> usize {
        self.by_id.len()
    }

    /// Up to `most` names that the kernel could let go of, with the number of their folder: of
    /// those that are no folders, the ones that it has known longest, and never the same twice
    /// before all others.
    pub(super) fn longest_known(&mut self, most: usize) -> Vec<(FileId, INodeNo, String)> {
        let mut chosen = Vec::new();
        for _ in 0..self.slots.len() {
            if chosen.len() == most {
                break;
            }
            let slot = self.slots[self.hand as usize];
            self.hand = if self.hand as usize + 1 < self.slots.len() {
                self.hand + 1
            } else {
                TOP
            };
            if slot.holders > 0 && slot.standing == Standing::Named && !slot.is_folder {
                let folder = self.number(self.slots[slot.folder as usize].id());
                chosen.push((slot.id(), folder, self.texts.get(slot.text).to_owned()));
            }
        }
        chosen
    }

    /// The kernel is told that `name` in `folder` is `id`: it holds it once more.
    pub(super) fn tell(
        &mut self,
        id: FileId,
        folder: FileId,
        name: &str,
        kind: Kind,
    ) -> Result<Generation, Lost> {
        let folder = self.find(folder).ok_or(Lost::Unknown)?;
        let at = self.find(id).unwrap_or_else(|| self.insert(id));
        self.put(at, folder, name);
        let slot = &mut self.slots[at as usize];
        slot.holders = slot.holders.saturating_add(1);
        slot.is_folder = kind == Kind::Folder;
        Ok(slot.generation())
    }

    /// It stands elsewhere now. Nothing to do if the kernel does not know it.
    pub(super) fn moved(&mut self, id: FileId, folder: FileId, name: &str) {
        if let (Some(at), Some(folder)) = (self.find(id), self.find(folder)) {
            self.put(at, folder, name);
        }
    }

    /// Its last name was removed: when its number is met again, it is another file.
    pub(super) fn removed(&mut self, id: FileId) {
        self.unname(id, Standing::Removed);
    }

    /// One of its names was removed, but the disk says that it has others.
    pub(super) fn lost_a_name(&mut self, id: FileId) {
        self.unname(id, Standing::Nameless);
    }

    /// The kernel lets go of it `times` times.
    pub(super) fn forget(&mut self, id: FileId, times: u64) {
        if let Some(at) = self.find(id) {
            self.release(at, u32::try_from(times).unwrap_or(u32::MAX));
            if self.slots.len() > SHRINK_FROM && self.by_id.len() < self.slots.len() / 4 {
                self.pack_slots();
            }
            self.pack_texts();
        }
    }

    fn unname(&mut self, id: FileId, standing: Standing) {
        let Some(at) = self.find(id).filter(|at| *at != TOP) else {
            return;
        };
        let slot = self.slots[at as usize];
        self.slots[at as usize].standing = standing;
        if slot.standing == Standing::Named {
            self.texts.drop(slot.text);
            self.slots[at as usize].text = Text::default();
            self.release(slot.folder, 1);
        }
    }

    fn put(&mut self, at: u32, folder: u32, name: &str) {
        if at == TOP {
            return;
        }
        let old = self.slots[at as usize];
        if old.standing == Standing::Named
            && old.folder == folder
            && self.texts.get(old.text) == name
        {
            return;
        }
        // The new folder is held before the old one is let go of: they may be the same.
        let holders = &mut self.slots[folder as usize].holders;
        *holders = holders.saturating_add(1);
        let text = self.texts.add(name);
        let slot = &mut self.slots[at as usize];
        if old.standing == Standing::Removed {
            slot.generation = old.generation.wrapping_add(1);
        }
        (slot.folder, slot.text, slot.standing) = (folder, text, Standing::Named);
        if old.standing == Standing::Named {
            self.texts.drop(old.text);
            self.release(old.folder, 1);
        }
        self.pack_texts();
    }

    fn find(&self, id: FileId) -> Option<u32> {
        self.by_id
            .find(self.hasher.hash_one(id), |at| {
                self.slots[*at as usize].id() == id
            })
            .copied()
    }

    fn insert(&mut self, id: FileId) -> u32 {
        let slot = Slot::new(id);
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            let at = u32::try_from(self.slots.len())
                .expect("the kernel's own memory ends long before 4 billion inodes");
            self.slots.push(slot);
            at
        };
        self.index(at);
        at
    }

    fn index(&mut self, at: u32) {
        let Self {
            slots,
            by_id,
            hasher,
            ..
        } = self;
        let hash = |at: &u32| hasher.hash_one(slots[*at as usize].id());
        by_id.insert_unique(hash(&at), at, hash);
    }

    /// Takes holders away, and the slot with the last one, and then perhaps its folder's.
    fn release(&mut self, mut at: u32, mut times: u32) {
        while at != TOP {
            let slot = &mut self.slots[at as usize];
            slot.holders = slot.holders.saturating_sub(times);
            if slot.holders > 0 {
                return;
            }
            let slot = *slot;
            let hash = self.hasher.hash_one(slot.id());
            if let Ok(entry) = self.by_id.find_entry(hash, |found| *found == at) {
                entry.remove();
            }
            self.slots[at as usize].text = Text::default();
            self.free.push(at);
            if slot.standing != Standing::Named {
                return;
            }
            self.texts.drop(slot.text);
            (at, times) = (slot.folder, 1);
        }
    }

    /// Gives memory back after many names were changed or forgotten.
    fn pack_texts(&mut self) {
        if self.texts.is_mostly_waste() {
            let mut packed = Texts::default();
            for slot in &mut self.slots {
                slot.text = packed.add(self.texts.get(slot.text));
            }
            self.texts = packed;
        }
    }

    /// Gives memory back after a big tree was listed and forgotten.
    fn pack_slots(&mut self) {
        let (mut packed, mut moved_to) = (Vec::new(), vec![TOP; self.slots.len()]);
        for (slot, to) in self
            .slots
            .iter()
            .zip(&mut moved_to)
            .filter(|(slot, _)| slot.holders > 0)
        {
            *to = u32::try_from(packed.len()).expect("fewer than there were");
            packed.push(*slot);
        }
        for slot in &mut packed {
            slot.folder = moved_to[slot.folder as usize];
        }
        self.slots = packed;
        self.hand = TOP;
        self.free = Vec::new();
        self.by_id = HashTable::with_capacity(self.slots.len());
        for at in 0..u32::try_from(self.slots.len()).expect("fewer than there were") {
            self.index(at);
        }
    }
}

impl Slot {
    fn new(FileId(id): FileId) -> Self {
        let (text, standing) = (Text::default(), Standing::Nameless);
        Self {
            id: id.to_ne_bytes(),
            folder: TOP,
            holders: 0,
            text,
            generation: 0,
            standing,
            is_folder: false,
        }
    }
    fn id(&self) -> FileId {
        FileId(u64::from_ne_bytes(self.id))
    }
    fn generation(&self) -> Generation {
        Generation(u64::from(self.generation))
    }
}

#[cfg(test)]
mod tests;
