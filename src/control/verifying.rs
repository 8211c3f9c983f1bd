//! Verifying: receipts, the server's copy and the one here, held against each other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::{Receipt, Session};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::signature::ReceiptKey;

use super::answer::Desk;
use super::message::{
    CopyHere, CopyThere, KeyChoice, KeyStanding, VERIFIED_AT_ONCE, VerifiedFile, VerifyAnswer,
    VerifyRequest, Witness,
};
use super::room::{Refused, refused};
use crate::background::run_blocking;
use crate::config::ConfigError;
use crate::journal::{FileId, FileRecord, FileState, JournalError};
use crate::spool::{Kind, Place, Spool, SpoolError, fingerprint_of};

/// What a receipt is held against.
#[derive(Clone, Copy, Debug)]
struct Judge {
    user: UserId,
    key: Option<ReceiptKey>,
    standing: KeyStanding,
}

/// Why files that were named are not verified.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("at most {VERIFIED_AT_ONCE} files at once, not {0}")]
    TooMany(usize),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

pub(super) async fn verify(
    State(desk): State<Arc<Desk>>,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyAnswer>, Refused> {
    // Asked anew: the key that was shown an hour ago may not be the one that is shown now.
    desk.remote
        .renewed_session()
        .await
        .map_err(|error| refused(&error))?;
    let session = desk
        .library
        .session()
        .await
        .map_err(|error| refused(&error))?;
    let (choosing, choice) = (Arc::clone(&desk), request.key);
    let judge = run_blocking(move || choosing.judge(&session, choice))
        .await
        .map_err(|error| refused(&error))?;
    let looking = Arc::clone(&desk);
    let (page, next) = run_blocking(move || looking.page(&request))
        .await
        .map_err(|error| refused(&error))?;
    let mut answer = VerifyAnswer {
        key: judge.standing,
        files: Vec::new(),
        not_backed_up: 0,
        next,
    };
    for record in page {
        let Some(record) = record else {
            answer.not_backed_up += 1;
            continue;
        };
        match record.state {
            FileState::BackedUp { fingerprint } | FileState::Placeholder { fingerprint } => {
                answer
                    .files
                    .push(desk.verified(judge, record, fingerprint).await?);
            }
            FileState::Pending { .. } | FileState::Failed { .. } => answer.not_backed_up += 1,
            FileState::Local { .. } => {}
        }
    }
    Ok(Json(answer))
}

impl Desk {
    /// Compares the server's key with the one that was met first.
    fn judge(&self, session: &Session, choice: KeyChoice) -> Result<Judge, ConfigError> {
        let shown = session.receipt_key;
        if let (KeyChoice::Shown, Some(key)) = (choice, shown) {
            tracing::warn!("the server's new key is trusted, because its user says so");
            self.state.trust_receipt_key(&session.installation, key)?;
        }
        let key = self.state.meet_receipt_key(&session.installation, shown)?;
        let standing = match key {
            None => KeyStanding::None,
            Some(_) if key == shown => KeyStanding::Same,
            Some(_) => KeyStanding::Changed,
        };
        Ok(Judge {
            user: session.user,
            key,
            standing,
        })
    }

    /// What the journal says of the files asked for (nothing, of one that it does not know), and
    /// where to go on.
    fn page(
        &self,
        request: &VerifyRequest,
    ) -> Result<(Vec<Option<FileRecord>>, Option<u64>), VerifyError> {
        if request.paths.is_empty() {
            let page = self
                .journal
                .files_after(request.after.map(FileId), VERIFIED_AT_ONCE)?;
            let next = page.last().map(|(id, _)| id.0);
            return Ok((
                page.into_iter().map(|(_, record)| Some(record)).collect(),
                next,
            ));
        }
        if request.paths.len() > VERIFIED_AT_ONCE {
            return Err(VerifyError::TooMany(request.paths.len()));
        }
        let mut page = Vec::new();
        for path in &request.paths {
            match self.spool.facts(&Place::At(path.clone())) {
                Ok(facts) if facts.kind == Kind::File => {
                    let known = self.journal.file(facts.id)?;
                    page.push(known.map(|record| FileRecord {
                        path: path.clone(),
                        ..record
                    }));
                }
                // Removed, or replaced by something else, since it was named.
                Ok(_) => {}
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((page, None))
    }

    async fn verified(
        self: &Arc<Self>,
        judge: Judge,
        record: FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<VerifiedFile, Refused> {
        let desk = Arc::clone(self);
        let kept = run_blocking(move || desk.journal.receipt(fingerprint))
            .await
            .map_err(|error| refused(&error))?;
        let fresh = self
            .remote
            .fresh_receipt(fingerprint, record.stamp.size)
            .await
            .map_err(|error| refused(&error))?;
        let fresh = fresh.map(|fresh| fresh.receipt);
        let receipt = judge.witness(kept);
        let better = fresh.filter(|fresh| {
            receipt != Witness::Signed && judge.witness(Some(*fresh)) == Witness::Signed
        });
        if let Some(better) = better {
            let desk = Arc::clone(self);
            let keeping = run_blocking(move || desk.journal.keep_receipts(vec![better]));
            keeping.await.map_err(|error| refused(&error))?;
        }
        let (desk, path) = (Arc::clone(self), record.path.clone());
        let here = run_blocking(move || here(&desk.spool, &record, fingerprint)).await;
        let server = if fresh.is_some() {
            CopyThere::Sound
        } else {
            CopyThere::Missing
        };
        Ok(VerifiedFile {
            path,
            receipt,
            server,
            here,
        })
    }
}

impl Judge {
    fn witness(&self, kept: Option<Receipt>) -> Witness {
        let Some(receipt) = kept else {
            return Witness::Missing;
        };
        match (receipt.signature, self.key) {
            (None, _) => Witness::Unsigned,
            (Some(signature), Some(key))
                if key.vouches(&receipt.statement(self.user), &signature) =>
            {
                Witness::Signed
            }
            (Some(_), _) => Witness::Foreign,
        }
    }
}

/// Reads the file here. Only one that is as it was when it was backed up says anything.
fn here(spool: &Spool, record: &FileRecord, fingerprint: Fingerprint) -> CopyHere {
    if let FileState::Placeholder { .. } = record.state {
        return CopyHere::Placeholder;
    }
    let Ok(file) = spool.read(&record.path) else {
        return CopyHere::Unreadable;
    };
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
