//! *Sealing*: a photo whose bytes are all here is read once more; only if its SHA-256 is the
//! fingerprint is it an ordinary file again.

use std::sync::Arc;

use heirloom_crash::CrashPoint;

use super::Inside;
use super::file_fetch::Fetch;
use crate::background::run_blocking;
use crate::journal::{FileState, StateUpdate};
use crate::spool::fingerprint_of;

impl Inside {
    /// Everything was here already when somebody opened it: a crash came just before the end, or
    /// the whole photo is a head.
    pub(super) fn seal_if_all_is_here(self: &Arc<Self>, fetch: &Arc<Fetch>) {
        if fetch.is_all_here() && fetch.want(None) {
            self.start(fetch);
        }
    }

    pub(super) async fn seal(self: &Arc<Self>, fetch: &Arc<Fetch>) {
        let (inside, sealed) = (Arc::clone(self), Arc::clone(fetch));
        run_blocking(move || inside.seal_here(&sealed)).await;
    }

    fn seal_here(&self, fetch: &Fetch) {
        match fetch.conclude(fingerprint_of) {
            Ok(()) => {
                let (image, bytes) = (fetch.fingerprint(), fetch.stamp().size);
                tracing::info!(file = fetch.id().0, fingerprint = %image, bytes, "fetched");
                self.desk.forget_trouble(fetch.id());
                self.enter(fetch);
                self.fetched
                    .send_modify(|count| *count = count.wrapping_add(1));
            }
            Err(error) => {
                if error.is_trouble() {
                    tracing::error!(
                        file = fetch.id().0,
                        why = error.chain(),
                        "a fetched photo is not kept"
                    );
                    self.desk.note_trouble(fetch.id(), error.chain());
                }
            }
        }
    }

    /// The journal may say "placeholder" of a whole file for a while, never the other way round;
    /// the next comparison finds it.
    fn enter(&self, fetch: &Fetch) {
        let fingerprint = fetch.fingerprint();
        let restated = StateUpdate {
            id: fetch.id(),
            stamp: fetch.stamp(),
            from: FileState::Placeholder { fingerprint },
            to: FileState::BackedUp { fingerprint },
        };
        if let Err(error) = self.journal.update_state(vec![restated]) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "the journal does not know yet that a photo was fetched"
            );
        }
        heirloom_crash::reached(CrashPoint::FetchRecorded);
    }
}
