//! The only way in which an end-to-end test waits: until a condition is true, with a time limit.

use std::time::{Duration, Instant};

/// The limit for a process of this machine to start, stop or answer, even while another test uses
/// all cores.
pub const SOON: Duration = Duration::from_secs(30);

/// The limit for a process to reach its crash point.
pub const CRASHED_WITHIN: Duration = Duration::from_secs(30);

/// The limit for everything that a test copies to be backed up.
pub const BACKED_UP_WITHIN: Duration = Duration::from_mins(2);

/// The polling interval. The processes under test have no common event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds. After `limit` the test fails and names the condition; the
/// processes then print their logs.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "timed out after {limit:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
