//! The clock that the intake's decisions read.

use std::fmt;
use std::time::Instant;

/// Source of the current time, so that a test or a simulation can set it.
pub(super) trait Clock: fmt::Debug + Send + Sync {
    /// The current monotonic time.
    fn now(&self) -> Instant;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}
