//! The time of day, which tests can advance.
//!
//! Expiry and nonces depend on the time of day, so the modules that need it are given a [`Clock`]
//! instead of asking the system: tests advance it by days without waiting for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day. Clones share the clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    advanced_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        system_now_ms().saturating_add(self.advanced_ms.load(Ordering::Relaxed))
    }

    /// Milliseconds since the epoch, `ago` before now.
    pub fn ms_before_now(&self, ago: Duration) -> i64 {
        self.now_ms().saturating_sub(milliseconds(ago))
    }

    /// Advances the clock, for all its clones.
    pub fn advance(&self, by: Duration) {
        self.advanced_ms
            .fetch_add(milliseconds(by), Ordering::Relaxed);
    }
}

/// The system's time in milliseconds since the epoch; 0 if its clock is set to before that.
pub fn system_now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    milliseconds(since_epoch)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_a_clock_advances_its_clones() {
        let clock = Clock::default();
        let reader = clock.clone();
        let before = reader.now_ms();
        clock.advance(Duration::from_hours(1));
        assert!(reader.now_ms() >= before + 3_600_000);
        assert!(reader.ms_before_now(Duration::from_hours(2)) < before);
    }
}
