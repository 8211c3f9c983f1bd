//! The offline state: the server is unreachable, busy or full, or does not accept the token.
//! Nothing is sent until a probe succeeds.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{LOGIN_PROBE_DELAY, PROBE_INTERVAL_MIN};
use super::types::Connection;
use crate::remote::{Backoff, RemoteError};

/// When to probe the server again, and what to show until then.
#[derive(Debug)]
pub(super) struct OfflineState {
    /// When the next probe is due.
    pub(super) probe_at: Instant,
    /// No probe before this, whatever happens: the server asked for it, or the last probe was just
    /// now.
    earliest_probe: Instant,
    /// Whether a probe failed as well: then the network, and not one request, is at fault.
    pub(super) confirmed: bool,
    pub(super) connection: Connection,
}

impl OfflineState {
    /// The state after an error that is no file's fault.
    pub(super) fn new(error: &RemoteError, backoff: &mut Backoff) -> Self {
        let now = Instant::now();
        let (wait, shortest): (Duration, Duration) = match error {
            RemoteError::LoginNeeded => {
                let wait = backoff.failed(None).max(LOGIN_PROBE_DELAY);
                (wait, PROBE_INTERVAL_MIN)
            }
            other => {
                let retry_after = other.retry_after();
                let wait = backoff.failed(retry_after);
                (wait, retry_after.map_or(PROBE_INTERVAL_MIN, |_| wait))
            }
        };
        let connection = match error {
            RemoteError::LoginNeeded => Connection::LoginNeeded,
            other => Connection::Offline {
                why: other.chain(),
                retry_s: wait.as_secs().max(1),
            },
        };
        Self {
            probe_at: now + wait,
            earliest_probe: now + shortest.min(wait),
            confirmed: false,
            connection,
        }
    }

    /// Schedules the next probe after one that failed.
    pub(super) fn on_probe_failed(&mut self, error: &RemoteError, backoff: &mut Backoff) {
        *self = Self {
            confirmed: true,
            ..Self::new(error, backoff)
        };
    }

    /// Brings the next probe forward: there is something new to upload.
    pub(super) fn probe_soon(&mut self) {
        self.probe_at = self.probe_at.min(self.earliest_probe);
    }
}

#[cfg(test)]
mod tests {
    use heirloom_protocol::{ErrorCode, Problem};

    use super::*;

    fn busy(retry_after: Option<Duration>) -> RemoteError {
        RemoteError::Refused {
            problem: Problem::new(ErrorCode::Unavailable),
            retry_after,
        }
    }

    #[tokio::test]
    async fn new_files_bring_the_probe_forward_but_never_before_retry_after() {
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.failed(None);
        }
        let mut offline = OfflineState::new(&busy(None), &mut backoff);
        offline.probe_soon();
        assert!(offline.probe_at <= Instant::now() + PROBE_INTERVAL_MIN);
        let mut asked = OfflineState::new(&busy(Some(Duration::from_mins(15))), &mut backoff);
        asked.probe_soon();
        assert!(asked.probe_at > Instant::now() + Duration::from_secs(890));
    }

    #[tokio::test]
    async fn a_missing_login_is_probed_slowly_and_reported() {
        let offline = OfflineState::new(&RemoteError::LoginNeeded, &mut Backoff::default());
        assert_eq!(offline.connection, Connection::LoginNeeded);
        assert!(offline.probe_at > Instant::now() + LOGIN_PROBE_DELAY / 2);
    }
}
