//! The bond: which server's library the journal speaks of. Sync list, shard list, outbox and
//! versions are one server's word about one user; they are worth nothing to another. So nobody uses
//! them before the server has said which installation it is, and the journal has forgotten what
//! another one said.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use heirloom_protocol::message::Session;
use heirloom_protocol::signature::ReceiptKey;

use super::LibraryError;
use crate::background::run_blocking;
use crate::config::{ConfigError, StateDir};
use crate::journal::{BindOutcome, Journal};
use crate::remote::Remote;

/// Ties the journal to the server that is spoken to.
#[derive(Debug)]
pub(super) struct Bond {
    journal: Arc<Journal>,
    remote: Remote,
    /// Whom the journal was last bound to by us.
    library: Mutex<Option<String>>,
    /// Where the server's key is kept when it is first met.
    keys: OnceLock<StateDir>,
    /// Held while keys are compared and kept: of two who meet a server at once, one does it.
    met: tokio::sync::Mutex<Option<Met>>,
    turn: tokio::sync::Mutex<()>,
}

/// Which key which installation showed, when it was last compared with the one that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Met {
    installation: String,
    shown: ReceiptKey,
}

impl Bond {
    pub(super) fn new(journal: Arc<Journal>, remote: Remote) -> Self {
        let (met, turn) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self {
            journal,
            remote,
            library: Mutex::new(None),
            keys: OnceLock::new(),
            met,
            turn,
        }
    }

    /// Either changes of ours are under way, from the first look at the outbox until their answer
    /// is entered, or a page of the feed is entered: never both, or our own changes would be taken
    /// for another device's.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// From now on the server's key is kept there.
    pub(super) fn set_receipt_key_dir(&self, state: StateDir) {
        if self.keys.set(state).is_err() {
            tracing::error!("there is a place for the server's key already");
        }
    }

    /// The session, after the journal speaks of the library that it is about.
    pub(super) async fn session(&self) -> Result<Session, LibraryError> {
        let session = self.remote.session().await?;
        self.tie(&session).await?;
        self.meet(&session).await;
        Ok(session)
    }

    /// Keeps the server's key at first sight. That it cannot be kept, or is another one, keeps no
    /// photo from being backed up: `heirloom verify` says it.
    async fn meet(&self, session: &Session) {
        let (Some(state), Some(shown)) = (self.keys.get().cloned(), session.receipt_key) else {
            return;
        };
        let met = Met {
            installation: session.installation.clone(),
            shown,
        };
        let mut last = self.met.lock().await;
        if last.as_ref() == Some(&met) {
            return;
        }
        let installation = met.installation.clone();
        let kept: Result<_, ConfigError> =
            run_blocking(move || state.trust_on_first_use(&installation, Some(shown))).await;
        match kept {
            Ok(Some(key)) if key == shown => {}
            Ok(_) => tracing::warn!(
                "the server signs receipts with another key than at first: see `heirloom verify`"
            ),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the server's key could not be kept"
                );
                return;
            }
        }
        *last = Some(met);
    }

    async fn tie(&self, session: &Session) -> Result<(), LibraryError> {
        let library = format!("{} {}", session.installation, session.user);
        if self.bound().as_ref() == Some(&library) {
            return Ok(());
        }
        let (journal, name) = (Arc::clone(&self.journal), library.clone());
        let bound = run_blocking(move || journal.bind_server(&name)).await?;
        if bound == BindOutcome::Other {
            tracing::warn!("another server, or another user of it: everything is asked for again");
        }
        *self.bound() = Some(library);
        Ok(())
    }

    fn bound(&self) -> MutexGuard<'_, Option<String>> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
