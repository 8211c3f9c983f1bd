//! Parting: when the kernel knows very many files, it is asked to let go of those it has known
//! longest.
//!
//! For each file that it knows we keep its number, folder and name, some 50 bytes; the kernel keeps
//! a kilobyte and more, and by itself lets go of files only when the whole machine is short of
//! memory. With a limit, a library of ten million photos takes no more of our memory than one of
//! half a million. Whoever uses a file again looks its name up again.
//!
//! It is done by a thread of its own, which holds none of our locks: the kernel takes its lock on
//! the folder, and whoever holds that may be waiting for us.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::{io, thread};

use fuser::Notifier;

use super::tree::Tree;

/// The kernel may know so many files and folders. 400,000 of them take some 25 MB here.
const KNOWN_MAX: usize = 400_000;

/// When it knows more, it lets go of this part of them at once: who goes through a library is not
/// held up at every name.
const PART_TO_GO: usize = 8;

/// How many files the kernel may know, and the bell for when it knows more.
#[derive(Debug)]
pub(super) struct Limit {
    most: usize,
    /// The bell rings when more are known. More than `most` where too few could be parted with: of
    /// folders, or of what is open.
    quiet_to: AtomicUsize,
    bell: OnceLock<SyncSender<()>>,
}

impl Default for Limit {
    fn default() -> Self {
        Self::of(KNOWN_MAX)
    }
}

impl Limit {
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            quiet_to: AtomicUsize::new(most),
            bell: OnceLock::new(),
        }
    }

    /// The kernel knows so many now. Never waits.
    pub(super) fn look(&self, known: usize) {
        if self.is_exceeded(known)
            && self
                .bell
                .get()
                .is_some_and(|bell| bell.try_send(()).is_err())
        {
            tracing::trace!("it rings already");
        }
    }

    fn is_exceeded(&self, known: usize) -> bool {
        known > self.quiet_to.load(Ordering::Relaxed)
    }

    /// How many of those known are to be parted with.
    fn excess(&self, known: usize) -> usize {
        known.saturating_sub(self.most - self.step())
    }

    /// So many are left: the bell is quiet until there is work again.
    fn settle(&self, left: usize) {
        self.quiet_to
            .store(self.most.max(left + self.step()), Ordering::Relaxed);
    }

    const fn step(&self) -> usize {
        self.most / PART_TO_GO
    }
}

/// Keeps the limit of a tree from now on, until the tree is gone.
pub(super) fn keep_limit(tree: &Arc<Tree>, notifier: Notifier) -> io::Result<()> {
    let (bell, rings) = sync_channel(1);
    tree.limit().bell.get_or_init(|| bell);
    let tree = Arc::downgrade(tree);
    thread::Builder::new()
        .name("parting".to_owned())
        .spawn(move || part(&tree, &rings, &notifier))?;
    Ok(())
}

fn part(tree: &Weak<Tree>, rings: &Receiver<()>, notifier: &Notifier) {
    while rings.recv().is_ok() {
        let Some(tree) = tree.upgrade() else { return };
        let known = tree.known();
        if !tree.limit().is_exceeded(known) {
            // It rang before the kernel had let go of the last ones.
            continue;
        }
        // All at once, some milliseconds under the lock that every request takes: none is chosen
        // twice.
        let parted = tree.longest_known(tree.limit().excess(known));
        tree.limit().settle(known.saturating_sub(parted.len()));
        drop(tree);
        for name in &parted {
            name.tell(notifier);
        }
    }
}

#[cfg(test)]
mod tests;
