//! The inode table: what the kernel knows of the tree by number, and the path of each number.
//!
//! The kernel refers to a file by the inode number that a lookup returned, until it sends `FORGET`.
//! The number is that of the spool's disk, so numbers are the same after every remount. A name is
//! stored once, with the number of its folder: renaming a folder of a million photos changes one
//! entry, and a path is put together by walking up.
//!
//! A number may be reused: the disk gives the number of a removed file to a new one while the
//! kernel still knows the old one. The *generation* tells them apart.
//!
//! Hundreds of thousands may be known at once, so an entry is 28 bytes, its index 5 to 10, and its
//! name no more than its bytes.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use heirloom_protocol::LibraryPath;

use crate::journal::FileId;
use crate::mount::types::{Generation, Ino};
use crate::spool::{Kind, SpoolPath};

mod name_arena;

use name_arena::{NameArena, NameRef};

/// Every inode that the kernel holds, and their parent folders.
#[derive(Debug)]
pub(super) struct Inodes {
    /// Slot 0 is the root, and is never freed.
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: RandomState,
    names: NameArena,
    /// The slot at which the next choice of the oldest names starts.
    clock_hand: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// As bytes, so that the slot is aligned to 4 and 28 bytes long, not to 8 and 32.
    id: [u8; 8],
    folder: u32,
    /// Lookups that the kernel has not forgotten, plus one for every slot whose folder this is.
    refs: u32,
    name: NameRef,
    generation: u16,
    link: LinkState,
    is_folder: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// It has a name in a folder.
    Linked,
    /// It lost its name, and may get another.
    Unlinked,
    /// It was removed: the next file with this number is another one.
    Deleted,
}

/// Why an inode has no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResolveError {
    /// The kernel does not hold this number.
    UnknownInode,
    /// It, or a folder above it, was removed.
    Unlinked,
    /// The path has become longer than Linux accepts in one call.
    PathTooLong,
}

/// Below this many slots, shrinking gains nothing.
const SHRINK_FROM: usize = 1024;
/// The slot of the root.
const ROOT: u32 = 0;

impl Inodes {
    /// A table that knows the root only.
    pub(super) fn new(root: FileId) -> Self {
        let mut this = Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashTable::new(),
            hasher: RandomState::new(),
            names: NameArena::default(),
            clock_hand: ROOT,
        };
        this.insert(root);
        this.slots[ROOT as usize].refs = 1;
        this
    }

    /// The kernel's inode number of a file: that of the disk, except that the root is number 1.
    pub(super) fn ino(&self, id: FileId) -> Ino {
        Ino(self.swap_root(id.0))
    }

    /// The file of the spool that has the kernel's inode number.
    pub(super) fn id(&self, ino: Ino) -> FileId {
        FileId(self.swap_root(ino.0))
    }

    /// Swaps the number of the root with 1, because a file of the disk may have number 1 (on tmpfs,
    /// one does).
    fn swap_root(&self, number: u64) -> u64 {
        let root = self.slots[ROOT as usize].id().0;
        match number {
            number if number == Ino::ROOT.0 => root,
            number if number == root => Ino::ROOT.0,
            number => number,
        }
    }

    /// The path of a file.
    pub(super) fn path(&self, id: FileId) -> Result<SpoolPath, ResolveError> {
        let mut at = self.find(id).ok_or(ResolveError::UnknownInode)?;
        let (mut names, mut bytes) = (Vec::new(), 0);
        while at != ROOT {
            let slot = &self.slots[at as usize];
            if slot.link != LinkState::Linked {
                return Err(ResolveError::Unlinked);
            }
            let name = self.names.get(slot.name);
            bytes += name.len() + 1;
            if bytes > LibraryPath::BYTES_MAX + 1 {
                return Err(ResolveError::PathTooLong);
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
            .map_err(|_| ResolveError::PathTooLong)
    }

    /// How many inodes the table holds, including the root.
    pub(super) fn held(&self) -> usize {
        self.by_id.len()
    }

    /// Up to `max` names that the kernel could drop, each with the number of its folder: not of
    /// folders, those held longest first, and none twice before all others.
    pub(super) fn oldest(&mut self, max: usize) -> Vec<(FileId, Ino, String)> {
        let mut chosen = Vec::new();
        for _ in 0..self.slots.len() {
            if chosen.len() == max {
                break;
            }
            let slot = self.slots[self.clock_hand as usize];
            self.clock_hand = if self.clock_hand as usize + 1 < self.slots.len() {
                self.clock_hand + 1
            } else {
                ROOT
            };
            if slot.refs > 0 && slot.link == LinkState::Linked && !slot.is_folder {
                let folder = self.ino(self.slots[slot.folder as usize].id());
                chosen.push((slot.id(), folder, self.names.get(slot.name).to_owned()));
            }
        }
        chosen
    }

    /// The kernel learns that `name` in `folder` is `id`, and holds it once more.
    pub(super) fn add_lookup(
        &mut self,
        id: FileId,
        folder: FileId,
        name: &str,
        kind: Kind,
    ) -> Result<Generation, ResolveError> {
        let folder = self.find(folder).ok_or(ResolveError::UnknownInode)?;
        let at = self.find(id).unwrap_or_else(|| self.insert(id));
        self.link(at, folder, name);
        let slot = &mut self.slots[at as usize];
        slot.refs = slot.refs.saturating_add(1);
        slot.is_folder = kind == Kind::Folder;
        Ok(slot.generation())
    }

    /// A file was renamed. Does nothing if the kernel does not hold it.
    pub(super) fn relink(&mut self, id: FileId, folder: FileId, name: &str) {
        if let (Some(at), Some(folder)) = (self.find(id), self.find(folder)) {
            self.link(at, folder, name);
        }
    }

    /// The last name of a file was removed: the next file with its number is another one.
    pub(super) fn mark_deleted(&mut self, id: FileId) {
        self.unlink(id, LinkState::Deleted);
    }

    /// One name of a file was removed, but it has others on the disk.
    pub(super) fn mark_unlinked(&mut self, id: FileId) {
        self.unlink(id, LinkState::Unlinked);
    }

    /// The kernel drops `count` lookups of a file.
    pub(super) fn forget(&mut self, id: FileId, count: u64) {
        if let Some(at) = self.find(id) {
            self.release(at, u32::try_from(count).unwrap_or(u32::MAX));
            if self.slots.len() > SHRINK_FROM && self.by_id.len() < self.slots.len() / 4 {
                self.compact_slots();
            }
            self.compact_names();
        }
    }

    fn unlink(&mut self, id: FileId, state: LinkState) {
        let Some(at) = self.find(id).filter(|at| *at != ROOT) else {
            return;
        };
        let slot = self.slots[at as usize];
        self.slots[at as usize].link = state;
        if slot.link == LinkState::Linked {
            self.names.remove(slot.name);
            self.slots[at as usize].name = NameRef::default();
            self.release(slot.folder, 1);
        }
    }

    fn link(&mut self, at: u32, folder: u32, name: &str) {
        if at == ROOT {
            return;
        }
        let old = self.slots[at as usize];
        if old.link == LinkState::Linked && old.folder == folder && self.names.get(old.name) == name
        {
            return;
        }
        // The new folder is referenced before the old one is released: they may be the same.
        let refs = &mut self.slots[folder as usize].refs;
        *refs = refs.saturating_add(1);
        let name = self.names.add(name);
        let slot = &mut self.slots[at as usize];
        if old.link == LinkState::Deleted {
            slot.generation = old.generation.wrapping_add(1);
        }
        (slot.folder, slot.name, slot.link) = (folder, name, LinkState::Linked);
        if old.link == LinkState::Linked {
            self.names.remove(old.name);
            self.release(old.folder, 1);
        }
        self.compact_names();
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

    /// Drops references of a slot. Frees it with the last one, and then drops a reference of its
    /// folder.
    fn release(&mut self, mut at: u32, mut count: u32) {
        while at != ROOT {
            let slot = &mut self.slots[at as usize];
            slot.refs = slot.refs.saturating_sub(count);
            if slot.refs > 0 {
                return;
            }
            let slot = *slot;
            let hash = self.hasher.hash_one(slot.id());
            if let Ok(entry) = self.by_id.find_entry(hash, |found| *found == at) {
                entry.remove();
            }
            self.slots[at as usize].name = NameRef::default();
            self.free.push(at);
            if slot.link != LinkState::Linked {
                return;
            }
            self.names.remove(slot.name);
            (at, count) = (slot.folder, 1);
        }
    }

    /// Frees memory after many names were changed or forgotten.
    fn compact_names(&mut self) {
        if self.names.is_mostly_waste() {
            let mut packed = NameArena::default();
            for slot in &mut self.slots {
                slot.name = packed.add(self.names.get(slot.name));
            }
            self.names = packed;
        }
    }

    /// Frees memory after a large tree was listed and forgotten.
    fn compact_slots(&mut self) {
        let (mut packed, mut moved_to) = (Vec::new(), vec![ROOT; self.slots.len()]);
        for (slot, to) in self
            .slots
            .iter()
            .zip(&mut moved_to)
            .filter(|(slot, _)| slot.refs > 0)
        {
            *to = u32::try_from(packed.len()).expect("fewer than there were");
            packed.push(*slot);
        }
        for slot in &mut packed {
            slot.folder = moved_to[slot.folder as usize];
        }
        self.slots = packed;
        self.clock_hand = ROOT;
        self.free = Vec::new();
        self.by_id = HashTable::with_capacity(self.slots.len());
        for at in 0..u32::try_from(self.slots.len()).expect("fewer than there were") {
            self.index(at);
        }
    }
}

impl Slot {
    fn new(FileId(id): FileId) -> Self {
        Self {
            id: id.to_ne_bytes(),
            folder: ROOT,
            refs: 0,
            name: NameRef::default(),
            generation: 0,
            link: LinkState::Unlinked,
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
