//! Exponential backoff with jitter that honours a server's `Retry-After`.

use std::time::Duration;

/// The wait before the next try, which doubles with each failure in a row.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after the first failure: long enough for a server to restart, short enough to go
    /// unnoticed.
    pub const FIRST: Duration = Duration::from_secs(1);
    /// The longest wait, so that a network that came back is used within five minutes.
    pub const MAX: Duration = Duration::from_mins(5);
    /// The longest `Retry-After` that is honoured: no server can silence a client for good.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

    /// Counts a failure and returns the wait before the next try: between half and all of the doubled
    /// time, and no less than `retry_after`, the server's `Retry-After` (RFC 9110, section 10.2.3).
    pub fn failed(&mut self, retry_after: Option<Duration>) -> Duration {
        let doubled = Self::FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(Self::MAX);
        self.failures = self.failures.saturating_add(1);
        // Jitter: clients that failed together do not come back together.
        let own = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        match retry_after {
            Some(asked) => own.max(
                asked
                    .min(Self::RETRY_AFTER_MAX)
                    .mul_f64(1.0 + fastrand::f64() / 10.0),
            ),
            None => own,
        }
    }

    /// Resets the count: the next failure is a first one.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The number of failures in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_never_past_it() {
        let mut backoff = Backoff::default();
        let mut full = Backoff::FIRST;
        for _ in 0..100 {
            let wait = backoff.failed(None);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            full = (full * 2).min(Backoff::MAX);
        }
        backoff.succeeded();
        assert!(backoff.failed(None) <= Backoff::FIRST);
    }

    #[test]
    fn no_wait_is_shorter_than_the_server_asked_for() {
        let asked = Duration::from_secs(30);
        for _ in 0..100 {
            let wait = Backoff::default().failed(Some(asked));
            assert!(wait >= asked && wait <= asked.mul_f64(1.1));
        }
        let wait = Backoff::default().failed(Some(Duration::from_secs(u64::MAX)));
        assert!(
            wait <= Backoff::RETRY_AFTER_MAX.mul_f64(1.1),
            "a server cannot silence us for ever"
        );
    }
}
