//! The fake server without HTTP: a request is a call, and time is tokio's. Together with a paused
//! clock, the uploader's scheduling runs without sockets and without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{CheckImage, CheckedImage, Session, UploadState};
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, Problem, route};
use parking_lot::{Mutex, MutexGuard};

use super::state::{Shard, State};
use super::{Fault, TOKEN};
use crate::remote::{Payload, RemoteError, UploadServer};

/// How long a stalled request takes to fail.
const STALL: Duration = Duration::from_secs(30);
const DOING: &str = "talk to the server in memory";

/// A server in memory. Cheap to clone; clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct InMemoryServer {
    state: Arc<Mutex<State>>,
    sent_bytes: Arc<AtomicU64>,
}

impl InMemoryServer {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new())),
            sent_bytes: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Carries out a request, or fails it as the next fault for its line says.
    async fn request<Answer>(
        &self,
        line: String,
        bytes: usize,
        apply: impl FnOnce(&mut State) -> Result<Answer, ErrorCode> + Send,
    ) -> Result<Answer, RemoteError> {
        let (fault, duration) = {
            let mut state = self.state();
            state.requests.push((line.clone(), bytes));
            (state.fault(&line), state.shard_duration)
        };
        if bytes > 0 {
            tokio::time::sleep(duration).await;
        }
        let apply = |server: &Self| {
            let mut state = server.state();
            if state.token != TOKEN {
                return Err(RemoteError::LoginNeeded);
            }
            apply(&mut state).map_err(|code| refused(code, None))
        };
        match fault {
            None => apply(self),
            Some(Fault::CutAfter) => apply(self).and_then(|_| Err(interrupted())),
            Some(Fault::Cut | Fault::CutInside(_)) => Err(interrupted()),
            Some(Fault::Stall) => {
                tokio::time::sleep(STALL).await;
                let limit_s = STALL.as_secs();
                Err(RemoteError::TimedOut {
                    doing: DOING,
                    limit_s,
                })
            }
            Some(Fault::Problem(code, retry_after_s)) => Err(refused(code, retry_after_s)),
            Some(Fault::Status(..) | Fault::Garbage(_) | Fault::Redirect(_)) => {
                Err(RemoteError::Malformed {
                    doing: DOING,
                    why: "a fault of the test".to_owned(),
                })
            }
        }
    }

    fn count_sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn refused(code: ErrorCode, retry_after_s: Option<u64>) -> RemoteError {
    RemoteError::Refused {
        problem: Problem::new(code),
        retry_after: retry_after_s.map(Duration::from_secs),
    }
}

fn interrupted() -> RemoteError {
    RemoteError::Interrupted {
        doing: DOING,
        source: "a fault of the test".into(),
    }
}

fn whole(payload: &Payload) -> Vec<u8> {
    payload.segments().flatten().copied().collect()
}

impl UploadServer for InMemoryServer {
    fn is_loopback(&self) -> bool {
        true
    }

    fn image_bytes_sent(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    fn session(&self) -> BoxFuture<'_, Result<Session, RemoteError>> {
        self.renewed_session()
    }

    fn renewed_session(&self) -> BoxFuture<'_, Result<Session, RemoteError>> {
        let line = format!("GET {}", route::SESSION);
        self.request(line, 0, |state| Ok(state.session())).boxed()
    }

    fn check<'a>(
        &'a self,
        images: &'a [CheckImage],
    ) -> BoxFuture<'a, Result<Vec<CheckedImage>, RemoteError>> {
        let line = format!("POST {}", route::CHECK);
        self.request(line, 0, |state| {
            assert!(images.len() <= state.limits.check_images_max);
            Ok(images.iter().map(|image| state.check(image)).collect())
        })
        .boxed()
    }

    fn put_shard(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        offset: u64,
        digest: ContentDigest,
        bytes: Payload,
    ) -> BoxFuture<'_, Result<UploadState, RemoteError>> {
        let line = format!("PUT {}", route::shard(fingerprint, offset));
        let shard = Shard {
            fingerprint,
            offset,
            size,
            digest,
        };
        let body = whole(&bytes);
        self.count_sent(body.len() as u64);
        self.request(line, body.len(), move |state| state.put(shard, &body))
            .boxed()
    }

    fn send_batch<'a>(
        &'a self,
        _images: &'a [BatchEntry],
        body: Payload,
    ) -> BoxFuture<'a, Result<Vec<BatchOutcome>, RemoteError>> {
        let line = format!("POST {}", route::BATCHES);
        let body = whole(&body);
        self.count_sent(body.len() as u64);
        self.request(line, body.len(), move |state| Ok(state.store_batch(&body)))
            .boxed()
    }

    fn upload_state(
        &self,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<UploadState>, RemoteError>> {
        let line = format!("GET {}", route::upload(fingerprint));
        self.request(line, 0, move |state| Ok(state.upload(fingerprint)))
            .boxed()
    }
}
