//! A keyed lock on byte ranges, first come, first served.
//!
//! Shards of one upload may be written in parallel as long as they do not overlap; finishing the
//! upload excludes all of them. A guard is granted when no earlier guard or waiter of its key
//! overlaps its range, and released when it is dropped. Because the order is first come, first
//! served, finishing is not starved by shards that keep arriving. A key takes memory only while it
//! has guards or waiters.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use heirloom_protocol::ByteRange;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Locks byte ranges of keys. Clones share the locks.
#[derive(Debug)]
pub struct RangeLock<K: Copy + Eq + Hash> {
    queues: Arc<Mutex<HashMap<K, Queue>>>,
}

/// The guards and waiters of one key, in the order they came.
#[derive(Debug, Default)]
struct Queue {
    tickets: Vec<Ticket>,
    next_number: u64,
    released: Arc<Notify>,
}

/// A request for a range.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    number: u64,
    range: ByteRange,
}

/// A lock on a range, released when it is dropped. Until [`RangeLock::lock`] has returned it, it is
/// a waiter in the queue.
#[derive(Debug)]
pub struct RangeGuard<K: Copy + Eq + Hash> {
    queues: Arc<Mutex<HashMap<K, Queue>>>,
    key: K,
    ticket: Ticket,
    released: Arc<Notify>,
}

impl<K: Copy + Eq + Hash> Default for RangeLock<K> {
    fn default() -> Self {
        Self {
            queues: Arc::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> Clone for RangeLock<K> {
    fn clone(&self) -> Self {
        Self {
            queues: Arc::clone(&self.queues),
        }
    }
}

impl<K: Copy + Eq + Hash> RangeLock<K> {
    /// Waits for a lock on `range` of `key`. May be dropped at any time; it then leaves the queue.
    pub async fn lock(&self, key: K, range: ByteRange) -> RangeGuard<K> {
        let guard = self.enqueue(key, range);
        guard.granted().await;
        guard
    }

    /// Waits for a lock on all of `key`.
    pub async fn lock_all(&self, key: K) -> RangeGuard<K> {
        let everything = ByteRange::new(0, u64::MAX).expect("0 is below the largest number");
        self.lock(key, everything).await
    }

    fn enqueue(&self, key: K, range: ByteRange) -> RangeGuard<K> {
        let mut queues = self.queues.lock();
        let queue = queues.entry(key).or_default();
        let ticket = Ticket {
            number: queue.next_number,
            range,
        };
        queue.next_number += 1;
        queue.tickets.push(ticket);
        RangeGuard {
            queues: Arc::clone(&self.queues),
            key,
            ticket,
            released: Arc::clone(&queue.released),
        }
    }
}

impl<K: Copy + Eq + Hash> RangeGuard<K> {
    async fn granted(&self) {
        loop {
            // Registered before the check, so that a release between check and wait is not missed.
            let released = self.released.notified();
            if self.is_granted() {
                return;
            }
            released.await;
        }
    }

    fn is_granted(&self) -> bool {
        let queues = self.queues.lock();
        let queue = queues
            .get(&self.key)
            .expect("a queue exists while it has a ticket");
        !queue.tickets.iter().any(|earlier| {
            earlier.number < self.ticket.number && overlap(earlier.range, self.ticket.range)
        })
    }
}

impl<K: Copy + Eq + Hash> Drop for RangeGuard<K> {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key) {
            queue
                .tickets
                .retain(|ticket| ticket.number != self.ticket.number);
            if queue.tickets.is_empty() {
                queues.remove(&self.key);
            }
        }
        self.released.notify_waiters();
    }
}

const fn overlap(one: ByteRange, other: ByteRange) -> bool {
    one.start() < other.end() && other.start() < one.end()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    #[tokio::test]
    async fn disjoint_ranges_lock_in_parallel_and_overlapping_ones_wait() {
        let locks = RangeLock::default();
        let first = locks.lock(1, range(0, 10)).await;
        let second = locks.lock(1, range(10, 20)).await;
        let other_key = locks.lock(2, range(0, 20)).await;
        assert!(locks.lock(1, range(5, 15)).now_or_never().is_none());
        drop((first, other_key));
        assert!(
            locks.lock(1, range(5, 15)).now_or_never().is_none(),
            "the second still overlaps"
        );
        drop(second);
        timeout(LIMIT, locks.lock(1, range(5, 15))).await.unwrap();
    }

    #[tokio::test]
    async fn a_waiter_for_everything_is_not_starved_by_later_ones() {
        let locks: RangeLock<u8> = RangeLock::default();
        let writing = locks.lock(1, range(0, 10)).await;
        let mut all = Box::pin(locks.lock_all(1));
        assert!(all.as_mut().now_or_never().is_none());
        let mut later = Box::pin(locks.lock(1, range(50, 60)));
        assert!(
            later.as_mut().now_or_never().is_none(),
            "nothing overtakes the waiter for everything"
        );
        drop(writing);
        let everything = timeout(LIMIT, all).await.unwrap();
        assert!(later.as_mut().now_or_never().is_none());
        drop(everything);
        timeout(LIMIT, later).await.unwrap();
    }

    #[tokio::test]
    async fn a_queue_is_dropped_with_its_last_guard() {
        let locks = RangeLock::default();
        let guard = locks.lock(1, range(0, 10)).await;
        let mut cancelled = Box::pin(locks.lock_all(1));
        assert!(cancelled.as_mut().now_or_never().is_none());
        drop(cancelled);
        drop(guard);
        assert!(locks.queues.lock().is_empty());
    }
}
