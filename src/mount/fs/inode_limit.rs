//! The limit on the number of inodes that the kernel may hold.
//!
//! For each inode that the kernel holds, the mount keeps its number, folder and name, about 50
//! bytes. The kernel keeps a kilobyte and more, and drops inodes by itself only when the whole
//! machine is short of memory. With the limit, a library of ten million photos takes no more memory
//! here than one of half a million. A dropped inode is looked up again when it is used again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Inodes that the kernel may hold. 400,000 of them take about 25 MB here.
const INODES_MAX: usize = 400_000;

/// Above the limit, one in this many inodes is reclaimed at once: a program that walks through a
/// library is not slowed down at every name.
const RECLAIM_DIVISOR: usize = 8;

/// Counts against the limit, and wakes the thread that reclaims inodes.
#[derive(Debug)]
pub(super) struct InodeLimit {
    max: usize,
    /// The thread is woken when the kernel holds more than this. More than `max` if too few inodes
    /// could be reclaimed, because they are folders or open.
    wake_above: AtomicUsize,
    waker: OnceLock<SyncSender<()>>,
}

impl Default for InodeLimit {
    fn default() -> Self {
        Self::new(INODES_MAX)
    }
}

impl InodeLimit {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            wake_above: AtomicUsize::new(max),
            waker: OnceLock::new(),
        }
    }

    /// The receiver of wake-ups: one message each time the limit is exceeded, for the first caller.
    pub(super) fn wake_ups(&self) -> Receiver<()> {
        let (waker, wake_ups) = sync_channel(1);
        self.waker.get_or_init(|| waker);
        wake_ups
    }

    /// Wakes the reclaiming thread if the kernel holds too many inodes. Never blocks.
    pub(super) fn check(&self, held: usize) {
        if self.is_exceeded(held)
            && self
                .waker
                .get()
                .is_some_and(|waker| waker.try_send(()).is_err())
        {
            tracing::trace!("inodes are being reclaimed already");
        }
    }

    pub(super) fn is_exceeded(&self, held: usize) -> bool {
        held > self.wake_above.load(Ordering::Relaxed)
    }

    /// How many of the inodes held are to be reclaimed.
    pub(super) fn excess(&self, held: usize) -> usize {
        held.saturating_sub(self.max - self.step())
    }

    /// After a round that left `held` inodes: the next wake-up comes when there is work again.
    pub(super) fn reclaimed(&self, held: usize) {
        self.wake_above
            .store(self.max.max(held + self.step()), Ordering::Relaxed);
    }

    const fn step(&self) -> usize {
        self.max / RECLAIM_DIVISOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_that_cannot_be_reclaimed_do_not_keep_waking_the_thread() {
        let limit = InodeLimit::new(800);
        let wake_ups = limit.wake_ups();
        let wakes_at = |held| {
            limit.check(held);
            wake_ups.try_recv().is_ok()
        };
        assert_eq!(
            (wakes_at(800), wakes_at(801), limit.excess(801)),
            (false, true, 101)
        );
        limit.reclaimed(700);
        assert_eq!((wakes_at(800), wakes_at(801)), (false, true), "all went");
        limit.reclaimed(801);
        assert_eq!(
            (wakes_at(801), wakes_at(901), wakes_at(902)),
            (false, false, true),
            "none went"
        );
        limit.reclaimed(650);
        assert!(wakes_at(801), "they could go after all");
    }
}
