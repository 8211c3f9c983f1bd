//! What time it is.
//!
//! Expiries and nonces depend on the time of day, so the rooms that need it are given a clock
//! instead of asking the machine: tests push it forward by days without waiting for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    pushed_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Milliseconds since the epoch; 0 on a machine whose clock stands before it.
    pub fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        milliseconds(since_epoch).saturating_add(self.pushed_ms.load(Ordering::Relaxed))
    }

    /// Milliseconds since the epoch, `ago` before now.
    pub fn ms_before_now(&self, ago: Duration) -> i64 {
        self.now_ms().saturating_sub(milliseconds(ago))
    }

    /// Moves the clock forward, for all its clones.
    pub fn advance(&self, by: Duration) {
        self.pushed_ms
            .fetch_add(milliseconds(by), Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_clock_is_pushed_for_everybody_who_reads_it() {
        let clock = Clock::default();
        let reader = clock.clone();
        let before = reader.now_ms();
        clock.advance(Duration::from_hours(1));
        assert!(reader.now_ms() >= before + 3_600_000);
        assert!(reader.ms_before_now(Duration::from_hours(2)) < before);
    }
}
