//! How long to wait before trying again: longer each time, never in step with others, at least as
//! long as the server asked.

use std::time::Duration;

/// Counts failures in a row and says how long to wait after each.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After the first failure: long enough for a server that restarts, short enough not to be
    /// noticed.
    pub const FIRST: Duration = Duration::from_secs(1);
    /// At most: nobody waits more than five minutes for a network that came back.
    pub const MAX: Duration = Duration::from_mins(5);
    /// What is believed of a `Retry-After`, at most.
    pub const ASKED_MAX: Duration = Duration::from_hours(1);

    /// Counts a failure; how long to wait now. `asked` is the server's `Retry-After`.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = Self::FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(Self::MAX);
        self.failures = self.failures.saturating_add(1);
        // Between half and all of it, so that clients which failed together do not come back
        // together.
        let own = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        match asked {
            Some(asked) => own.max(
                asked
                    .min(Self::ASKED_MAX)
                    .mul_f64(1.0 + fastrand::f64() / 10.0),
            ),
            None => own,
        }
    }

    /// It worked: the next failure is a first one.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
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
    fn what_the_server_asked_for_is_the_least() {
        let asked = Duration::from_secs(30);
        for _ in 0..100 {
            let wait = Backoff::default().failed(Some(asked));
            assert!(wait >= asked && wait <= asked.mul_f64(1.1));
        }
        let wait = Backoff::default().failed(Some(Duration::from_secs(u64::MAX)));
        assert!(
            wait <= Backoff::ASKED_MAX.mul_f64(1.1),
            "a server cannot silence us for ever"
        );
    }
}
