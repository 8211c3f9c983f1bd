//! Reclaiming of inodes: when the kernel holds too many, it is asked to drop those it has held
//! longest.
//!
//! A thread of its own does it, without a lock of the mount: the kernel locks the folder, and
//! the program that holds that lock may be waiting for a reply.

use std::ffi::OsStr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::{io, thread};

use super::tree::Tree;

/// Keeps the tree's inode limit from now on, until the tree is gone.
pub(in crate::mount) fn start(tree: &Arc<Tree>) -> io::Result<()> {
    let wake_ups = tree.inode_limit().wake_ups();
    let tree = Arc::downgrade(tree);
    thread::Builder::new()
        .name("inode-reclaim".to_owned())
        .spawn(move || reclaim(&tree, &wake_ups))?;
    Ok(())
}

fn reclaim(tree: &Weak<Tree>, wake_ups: &Receiver<()>) {
    while wake_ups.recv().is_ok() {
        let Some(tree) = tree.upgrade() else { return };
        let held = tree.inodes_held();
        if !tree.inode_limit().is_exceeded(held) {
            // The kernel has dropped the last ones since the wake-up.
            continue;
        }
        // All names are chosen at once, some milliseconds under the lock that every request takes:
        // none is chosen twice.
        let oldest = tree.oldest_names(tree.inode_limit().excess(held));
        tree.inode_limit()
            .reclaimed(held.saturating_sub(oldest.len()));
        let Some(invalidator) = tree.invalidator() else {
            continue;
        };
        drop(tree);
        for name in &oldest {
            invalidator.invalidate_name(name.folder, OsStr::new(&name.name));
        }
    }
}
