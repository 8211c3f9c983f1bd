//! The bond: which server's library the journal speaks of. Sync list, shard list, outbox and versions are one
//! server's word about one user; they are worth nothing to another. So nobody uses them before the server has
//! said which installation it is, and the journal has forgotten what another one said.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heirloom_protocol::message::Session;

use super::LibraryError;
use crate::aside::aside;
use crate::journal::{Bound, Journal};
use crate::remote::Remote;

/// Ties the journal to the server that is spoken to.
#[derive(Debug)]
pub(super) struct Bond {
    journal: Arc<Journal>,
    remote: Remote,
    /// Whom the journal was last bound to by us.
    library: Mutex<Option<String>>,
}

impl Bond {
    pub(super) fn new(journal: Arc<Journal>, remote: Remote) -> Self {
        Self { journal, remote, library: Mutex::new(None) }
    }

    /// The session, after the journal speaks of the library that it is about.
    pub(super) async fn session(&self) -> Result<Session, LibraryError> {
        let session = self.remote.session().await?;
        self.tie(&session).await?;
        Ok(session)
    }

    async fn tie(&self, session: &Session) -> Result<(), LibraryError> {
        let library = format!("{} {}", session.installation, session.user);
        if self.bound().as_ref() == Some(&library) {
            return Ok(());
        }
        let (journal, name) = (Arc::clone(&self.journal), library.clone());
        let bound = aside(move || journal.bind(&name)).await?;
        if bound == Bound::Other {
            tracing::warn!("another server, or another user of it: everything is asked for again");
        }
        *self.bound() = Some(library);
        Ok(())
    }

    fn bound(&self) -> MutexGuard<'_, Option<String>> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
