//! Binds the journal to one server and one user of it.
//!
//! Sync list, shard list, outbox and versions are what one server said about one user, and are
//! worth nothing to another. So they are not used before the server has said which installation it
//! is, and the journal has forgotten what another one said.

use std::sync::{Arc, OnceLock};

use heirloom_protocol::message::Session;
use heirloom_protocol::signature::ReceiptKey;
use parking_lot::Mutex;

use super::error::LibraryError;
use crate::background::run_blocking;
use crate::config::{ConfigError, StateDir};
use crate::journal::{BindOutcome, Journal};
use crate::remote::Remote;

/// Binds the journal to the server that is connected.
#[derive(Debug)]
pub(super) struct ServerBinding {
    journal: Arc<Journal>,
    remote: Remote,
    /// Server and user that the journal was last bound to by us.
    bound_to: Mutex<Option<String>>,
    /// Where the server's receipt key is kept when it is first seen.
    key_dir: OnceLock<StateDir>,
    /// Locked while a key is compared and kept, so that only one of two concurrent callers does
    /// it.
    seen_key: tokio::sync::Mutex<Option<SeenKey>>,
    exchange: tokio::sync::Mutex<()>,
}

/// The receipt key that an installation showed when it was last compared with the kept one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SeenKey {
    installation: String,
    key: ReceiptKey,
}

impl ServerBinding {
    pub(super) fn new(journal: Arc<Journal>, remote: Remote) -> Self {
        Self {
            journal,
            remote,
            bound_to: Mutex::new(None),
            key_dir: OnceLock::new(),
            seen_key: tokio::sync::Mutex::default(),
            exchange: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the right to exchange changes with the server. It is held by the outbox from
    /// reading a batch until the response is recorded, and by the feed while a page is applied, so
    /// that our own changes are not taken for another device's.
    pub(super) async fn lock_exchange(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.exchange.lock().await
    }

    /// Keeps the server's receipt key in this directory from now on.
    pub(super) fn set_receipt_key_dir(&self, state: StateDir) {
        if self.key_dir.set(state).is_err() {
            tracing::error!("the directory for the server's receipt key is already set");
        }
    }

    /// The session, after the journal was bound to its server and user.
    pub(super) async fn session(&self) -> Result<Session, LibraryError> {
        let session = self.remote.session().await?;
        self.bind(&session).await?;
        self.verify_key(&session).await;
        Ok(session)
    }

    /// Keeps the server's receipt key when it is first seen. A key that cannot be kept, or that has
    /// changed, does not stop backups: `heirloom verify` reports it.
    async fn verify_key(&self, session: &Session) {
        let (Some(state), Some(key)) = (self.key_dir.get().cloned(), session.receipt_key) else {
            return;
        };
        let seen = SeenKey {
            installation: session.installation.clone(),
            key,
        };
        let mut last = self.seen_key.lock().await;
        if last.as_ref() == Some(&seen) {
            return;
        }
        let installation = seen.installation.clone();
        let kept: Result<_, ConfigError> =
            run_blocking(move || state.trust_on_first_use(&installation, Some(key))).await;
        match kept {
            Ok(Some(kept)) if kept == key => {}
            Ok(_) => tracing::warn!(
                "the server's receipt key has changed since it was first seen; run `heirloom \
                 verify`"
            ),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not keep the server's receipt key"
                );
                return;
            }
        }
        *last = Some(seen);
    }

    async fn bind(&self, session: &Session) -> Result<(), LibraryError> {
        let library = format!("{} {}", session.installation, session.user);
        if self.bound_to.lock().as_ref() == Some(&library) {
            return Ok(());
        }
        let (journal, name) = (Arc::clone(&self.journal), library.clone());
        let bound = run_blocking(move || journal.bind_server(&name)).await?;
        if bound == BindOutcome::Other {
            tracing::warn!(
                "this is another server, or another user of it; all photos are checked again"
            );
        }
        *self.bound_to.lock() = Some(library);
        Ok(())
    }
}
