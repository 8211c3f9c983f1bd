//! Verifies a fetched photo: its bytes are read from the disk once more, and the file becomes an
//! ordinary one only if their SHA-256 is the fingerprint.

use heirloom_crash::CrashPoint;
use heirloom_support::error_chain::display_chain;

use super::file_fetch::FileFetch;
use super::recent_errors::RecentErrors;
use crate::journal::{FileState, Journal, StateUpdate};
use crate::spool::fingerprint_of;

/// Verifies a photo of which all bytes are here; whether it is an ordinary file now. Blocks.
pub(super) fn verify(fetch: &FileFetch, journal: &Journal, errors: &RecentErrors) -> bool {
    match fetch.finish(fingerprint_of) {
        Ok(()) => {
            let (image, bytes) = (fetch.fingerprint(), fetch.stamp().size);
            tracing::info!(file = fetch.id().0, fingerprint = %image, bytes, "fetched");
            errors.clear(fetch.id());
            record_backed_up(fetch, journal);
            true
        }
        Err(error) => {
            if error.is_reported() {
                let why = display_chain(&error);
                tracing::error!(file = fetch.id().0, why, "a fetched photo is not kept");
                errors.record(fetch.id(), why);
            }
            false
        }
    }
}

/// The journal may call a complete file a placeholder for a while, never the other way round. If it
/// cannot be updated now, the next reconciliation with the tree does it.
fn record_backed_up(fetch: &FileFetch, journal: &Journal) {
    let fingerprint = fetch.fingerprint();
    let update = StateUpdate {
        id: fetch.id(),
        stamp: fetch.stamp(),
        from: FileState::Placeholder { fingerprint },
        to: FileState::BackedUp { fingerprint },
    };
    if let Err(error) = journal.update_state(vec![update]) {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(
            error,
            "could not record in the journal that a photo was fetched"
        );
    }
    heirloom_crash::reached(CrashPoint::FetchRecorded);
}
