//! Verifying: receipts, the server's copy and the one here, held against each other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_protocol::message::{Receipt, Session};
use heirloom_protocol::{Fingerprint, LibraryPath};

use super::answer::Desk;
use super::message::{CopyHere, CopyThere, VerifiedFile, VerifyAnswer, VerifyRequest, Witness};
use super::room::{Refused, refused};
use crate::aside::aside;
use crate::journal::{FileId, FileRecord, FileState};
use crate::spool::{Spool, fingerprint_of};

/// Files of the journal in one answer: each is read here and there, so an answer may take minutes.
const PAGE: usize = 20;

pub(super) async fn verify(
    State(desk): State<Arc<Desk>>,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyAnswer>, Refused> {
    let session = desk.library.session().await.map_err(|error| refused(&error))?;
    let (looking, after) = (Arc::clone(&desk), request.after.map(FileId));
    let page = aside(move || looking.journal.files_after(after, PAGE)).await.map_err(|error| refused(&error))?;
    let mut answer = VerifyAnswer { files: Vec::new(), not_backed_up: 0, next: page.last().map(|(id, _)| id.0) };
    for (_, record) in page.into_iter().filter(|(_, record)| is_asked_for(&record.path, &request.paths)) {
        match record.state {
            FileState::BackedUp { fingerprint } | FileState::Placeholder { fingerprint } => {
                answer.files.push(desk.verified(&session, record, fingerprint).await?);
            }
            FileState::Pending { .. } | FileState::Failed { .. } => answer.not_backed_up += 1,
            FileState::Local { .. } => {}
        }
    }
    Ok(Json(answer))
}

impl Desk {
    async fn verified(
        self: &Arc<Self>,
        session: &Session,
        record: FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<VerifiedFile, Refused> {
        let desk = Arc::clone(self);
        let kept = aside(move || desk.journal.receipt(fingerprint)).await.map_err(|error| refused(&error))?;
        let fresh = self.remote.fresh_receipt(fingerprint, record.stamp.size).await.map_err(|error| refused(&error))?;
        let receipt = witness(session, kept);
        if let (Witness::Unsigned | Witness::Missing, Some(fresh)) = (receipt, fresh) {
            let desk = Arc::clone(self);
            let keeping = aside(move || desk.journal.keep_receipts(vec![fresh.receipt]));
            keeping.await.map_err(|error| refused(&error))?;
        }
        let (desk, path) = (Arc::clone(self), record.path.clone());
        let here = aside(move || here(&desk.spool, &record, fingerprint)).await;
        let server = if fresh.is_some() { CopyThere::Sound } else { CopyThere::Missing };
        Ok(VerifiedFile { path, receipt, server, here })
    }
}

fn is_asked_for(path: &LibraryPath, paths: &[LibraryPath]) -> bool {
    paths.is_empty() || paths.iter().any(|place| path.is_at_or_below(place))
}

fn witness(session: &Session, kept: Option<Receipt>) -> Witness {
    let Some(receipt) = kept else { return Witness::Missing };
    match (receipt.signature, session.receipt_key) {
        (None, _) => Witness::Unsigned,
        (Some(signature), Some(key)) if key.vouches(&receipt.statement(session.user), &signature) => Witness::Signed,
        (Some(_), _) => Witness::Foreign,
    }
}

/// Reads the file here. Only one that is as it was when it was backed up says anything.
fn here(spool: &Spool, record: &FileRecord, fingerprint: Fingerprint) -> CopyHere {
    if let FileState::Placeholder { .. } = record.state {
        return CopyHere::Placeholder;
    }
    let Ok(file) = spool.read(&record.path) else { return CopyHere::Unreadable };
    let unchanged = || Spool::identify(&file).is_ok_and(|(_, stamp)| stamp == record.stamp);
    match fingerprint_of(&file) {
        _ if !unchanged() => CopyHere::Changed,
        Ok(found) if found == fingerprint => CopyHere::Same,
        Ok(_) => CopyHere::Differs,
        Err(error) => {
            tracing::warn!(%error, "a photo here cannot be read");
            CopyHere::Unreadable
        }
    }
}
