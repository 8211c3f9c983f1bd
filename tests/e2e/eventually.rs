//! The only way in which a whole-installation test waits: for something to become true, within a limit.

use std::time::{Duration, Instant};

/// What starts, stops or answers on this machine does so within this, even while another test uses
/// both cores.
pub const SOON: Duration = Duration::from_secs(30);

/// A process comes to its crash point within this.
pub const CRASHED_WITHIN: Duration = Duration::from_secs(30);

/// Everything a test copies is backed up within this.
pub const BACKED_UP_WITHIN: Duration = Duration::from_mins(2);

/// How often we look. The processes under test offer no common event, so looking is what remains.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `condition` holds. After `limit` the test fails and says what it waited for; the
/// installation then shows its logs.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < limit,
            "waited {limit:?} in vain for this: {what}"
        );
        std::thread::sleep(LOOK_EVERY);
    }
}
