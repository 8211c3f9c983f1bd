//! Turns: who writes what, one after another.
//!
//! Shards of one upload may be written side by side as long as they do not overlap; the sealing of
//! the upload must be alone with it. Both are a *turn* for a range of a key: it begins when no
//! earlier turn of that key overlaps it, and ends when it is dropped. First come, first served, so
//! a sealing is not starved by shards that keep coming. A key is remembered only while somebody
//! stands in its line.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heirloom_protocol::ByteRange;
use tokio::sync::Notify;

/// The lines of all keys. Clones share them.
#[derive(Debug)]
pub struct RangeLock<K: Copy + Eq + Hash> {
    lines: Arc<Mutex<HashMap<K, Line>>>,
}

/// Those who have or await a turn for one key, in the order they came.
#[derive(Debug, Default)]
struct Line {
    places: Vec<Place>,
    next_place: u64,
    moved: Arc<Notify>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    number: u64,
    range: ByteRange,
}

/// A place in the line; once [`RangeLock::take`] has answered, the turn itself. Dropping it makes room.
#[derive(Debug)]
pub struct RangeGuard<K: Copy + Eq + Hash> {
    lines: Arc<Mutex<HashMap<K, Line>>>,
    key: K,
    place: Place,
    moved: Arc<Notify>,
}

impl<K: Copy + Eq + Hash> Default for RangeLock<K> {
    fn default() -> Self {
        Self {
            lines: Arc::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> Clone for RangeLock<K> {
    fn clone(&self) -> Self {
        Self {
            lines: Arc::clone(&self.lines),
        }
    }
}

impl<K: Copy + Eq + Hash> RangeLock<K> {
    /// Waits for a turn with `range` of `key`. May be dropped at any time: the place is given up.
    pub async fn lock(&self, key: K, range: ByteRange) -> RangeGuard<K> {
        let turn = self.stand_in_line(key, range);
        turn.come().await;
        turn
    }

    /// Waits until nobody else has a turn with any part of `key`.
    pub async fn lock_all(&self, key: K) -> RangeGuard<K> {
        let everything = ByteRange::new(0, u64::MAX).expect("0 is below the largest number");
        self.lock(key, everything).await
    }

    fn stand_in_line(&self, key: K, range: ByteRange) -> RangeGuard<K> {
        let mut lines = unpoisoned(&self.lines);
        let line = lines.entry(key).or_default();
        let place = Place {
            number: line.next_place,
            range,
        };
        line.next_place += 1;
        line.places.push(place);
        RangeGuard {
            lines: Arc::clone(&self.lines),
            key,
            place,
            moved: Arc::clone(&line.moved),
        }
    }
}

impl<K: Copy + Eq + Hash> RangeGuard<K> {
    async fn come(&self) {
        loop {
            // Registered before looking, so that a move between looking and waiting is not missed.
            let moved = self.moved.notified();
            if self.has_come() {
                return;
            }
            moved.await;
        }
    }

    fn has_come(&self) -> bool {
        let lines = unpoisoned(&self.lines);
        let line = lines
            .get(&self.key)
            .expect("a line stands while somebody has a place in it");
        !line.places.iter().any(|earlier| {
            earlier.number < self.place.number && overlap(earlier.range, self.place.range)
        })
    }
}

impl<K: Copy + Eq + Hash> Drop for RangeGuard<K> {
    fn drop(&mut self) {
        let mut lines = unpoisoned(&self.lines);
        if let Some(line) = lines.get_mut(&self.key) {
            line.places
                .retain(|place| place.number != self.place.number);
            if line.places.is_empty() {
                lines.remove(&self.key);
            }
        }
        self.moved.notify_waiters();
    }
}

const fn overlap(one: ByteRange, other: ByteRange) -> bool {
    one.start() < other.end() && other.start() < one.end()
}

/// The lines are whole at every moment the lock is free, whatever its last holder died of.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn turns_apart_run_side_by_side_and_overlapping_ones_wait() {
        let turns = RangeLock::default();
        let first = turns.lock(1, range(0, 10)).await;
        let second = turns.lock(1, range(10, 20)).await;
        let elsewhere = turns.lock(2, range(0, 20)).await;
        assert!(turns.lock(1, range(5, 15)).now_or_never().is_none());
        drop((first, elsewhere));
        assert!(
            turns.lock(1, range(5, 15)).now_or_never().is_none(),
            "the second still overlaps"
        );
        drop(second);
        timeout(LIMIT, turns.lock(1, range(5, 15))).await.unwrap();
    }

    #[tokio::test]
    async fn one_who_wants_all_is_not_starved_by_those_who_come_later() {
        let turns: RangeLock<u8> = RangeLock::default();
        let writing = turns.lock(1, range(0, 10)).await;
        let mut all = Box::pin(turns.lock_all(1));
        assert!(all.as_mut().now_or_never().is_none());
        let mut later = Box::pin(turns.lock(1, range(50, 60)));
        assert!(
            later.as_mut().now_or_never().is_none(),
            "nobody overtakes the one who waits for all"
        );
        drop(writing);
        let sealing = timeout(LIMIT, all).await.unwrap();
        assert!(later.as_mut().now_or_never().is_none());
        drop(sealing);
        timeout(LIMIT, later).await.unwrap();
    }

    #[tokio::test]
    async fn a_line_is_forgotten_when_the_last_has_left_it() {
        let turns = RangeLock::default();
        let turn = turns.lock(1, range(0, 10)).await;
        let mut given_up = Box::pin(turns.lock_all(1));
        assert!(given_up.as_mut().now_or_never().is_none());
        drop(given_up);
        drop(turn);
        assert!(turns.lines.lock().unwrap().is_empty());
    }
}
