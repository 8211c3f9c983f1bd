//! An outage: the server is away, busy, full, or does not know us. Nothing is sent until a probe is
//! answered.

use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use crate::remote::{Backoff, RemoteError};

/// New files make us look sooner, but not more often than this.
const PROBE_GAP: Duration = Duration::from_secs(3);
/// Without a login there is nothing to be expected of soon asking again.
const LOGIN_GAP: Duration = Duration::from_mins(1);

/// Since when, and until when at least.
#[derive(Debug)]
pub(super) struct Offline {
    /// When to probe next.
    pub(super) probe_at: Instant,
    /// Not before this, whatever happens: the server asked for it, or we probed just now.
    floor: Instant,
    /// Whether a probe has confirmed that the network, and not one request, is what failed.
    pub(super) confirmed: bool,
    pub(super) connection: Connection,
}

impl Offline {
    /// Something failed that is no file's fault.
    pub(super) fn begin(error: &RemoteError, backoff: &mut Backoff) -> Self {
        let now = Instant::now();
        let (wait, floor) = match error {
            RemoteError::LoginNeeded => (backoff.failed(None).max(LOGIN_GAP), PROBE_GAP),
            other => {
                let asked = other.retry_after();
                let wait = backoff.failed(asked);
                (wait, asked.map_or(PROBE_GAP, |_| wait))
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
            floor: now + floor.min(wait),
            confirmed: false,
            connection,
        }
    }

    /// A probe failed as well.
    pub(super) fn go_on(&mut self, error: &RemoteError, backoff: &mut Backoff) {
        *self = Self {
            confirmed: true,
            ..Self::begin(error, backoff)
        };
    }

    /// Something new is in the queue: a good moment to look whether the network is back.
    pub(super) fn look_sooner(&mut self) {
        self.probe_at = self.probe_at.min(self.floor);
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
    async fn new_files_make_it_look_sooner_but_never_before_the_server_asked() {
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.failed(None);
        }
        let mut outage = Offline::begin(&busy(None), &mut backoff);
        outage.look_sooner();
        assert!(outage.probe_at <= Instant::now() + PROBE_GAP);
        let mut asked = Offline::begin(&busy(Some(Duration::from_mins(15))), &mut backoff);
        asked.look_sooner();
        assert!(asked.probe_at > Instant::now() + Duration::from_secs(890));
    }

    #[tokio::test]
    async fn a_missing_login_is_asked_for_slowly_and_says_so() {
        let outage = Offline::begin(&RemoteError::LoginNeeded, &mut Backoff::default());
        assert_eq!(outage.connection, Connection::LoginNeeded);
        assert!(outage.probe_at > Instant::now() + LOGIN_GAP / 2);
    }
}
