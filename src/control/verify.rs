//! Verifying: receipts, the server's copy and the one here, held against each other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::{Receipt, Session};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::signature::ReceiptKey;

use super::message::{
    KeyChoice, KeyComparison, LocalCopy, ReceiptCheck, ServerCopy, VERIFY_FILES_MAX, VerifiedFile,
    VerifyRequest, VerifyResponse,
};
use super::server::ControlState;
use super::space::{Refused, refused};
use crate::background::run_blocking;
use crate::config::ConfigError;
use crate::journal::{FileId, FileRecord, FileState, JournalError};
use crate::spool::{Kind, Spool, SpoolError, SpoolPath, fingerprint_of};

/// What a receipt is held against.
#[derive(Clone, Copy, Debug)]
struct ReceiptVerifier {
    user: UserId,
    key: Option<ReceiptKey>,
    standing: KeyComparison,
}

/// Why files that were named are not verified.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("at most {VERIFY_FILES_MAX} files at once, not {0}")]
    TooMany(usize),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

pub(super) async fn verify(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, Refused> {
    // Asked anew: the key that was shown an hour ago may not be the one that is shown now.
    context
        .remote
        .renewed_session()
        .await
        .map_err(|error| refused(&error))?;
    let session = context
        .library
        .session()
        .await
        .map_err(|error| refused(&error))?;
    let (choosing, choice) = (Arc::clone(&context), request.key);
    let judge = run_blocking(move || choosing.judge(&session, choice))
        .await
        .map_err(|error| refused(&error))?;
    let looking = Arc::clone(&context);
    let (page, next) = run_blocking(move || looking.page(&request))
        .await
        .map_err(|error| refused(&error))?;
    let mut answer = VerifyResponse {
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
                    .push(context.verified(judge, record, fingerprint).await?);
            }
            FileState::Pending { .. } | FileState::Failed { .. } => answer.not_backed_up += 1,
            FileState::Local { .. } => {}
        }
    }
    Ok(Json(answer))
}

impl ControlState {
    /// Compares the server's key with the one that was met first.
    fn judge(&self, session: &Session, choice: KeyChoice) -> Result<ReceiptVerifier, ConfigError> {
        let shown = session.receipt_key;
        if let (KeyChoice::Shown, Some(key)) = (choice, shown) {
            tracing::warn!("the server's new key is trusted, because its user says so");
            self.state.replace_receipt_key(&session.installation, key)?;
        }
        let key = self
            .state
            .trust_on_first_use(&session.installation, shown)?;
        let standing = match key {
            None => KeyComparison::None,
            Some(_) if key == shown => KeyComparison::Same,
            Some(_) => KeyComparison::Changed,
        };
        Ok(ReceiptVerifier {
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
                .files_after(request.after.map(FileId), VERIFY_FILES_MAX)?;
            let next = page.last().map(|(id, _)| id.0);
            return Ok((
                page.into_iter().map(|(_, record)| Some(record)).collect(),
                next,
            ));
        }
        if request.paths.len() > VERIFY_FILES_MAX {
            return Err(VerifyError::TooMany(request.paths.len()));
        }
        let mut page = Vec::new();
        for path in &request.paths {
            match self.spool.metadata(&SpoolPath::Entry(path.clone())) {
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
        judge: ReceiptVerifier,
        record: FileRecord,
        fingerprint: Fingerprint,
    ) -> Result<VerifiedFile, Refused> {
        let context = Arc::clone(self);
        let kept = run_blocking(move || context.journal.receipt(fingerprint))
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
            receipt != ReceiptCheck::Signed && judge.witness(Some(*fresh)) == ReceiptCheck::Signed
        });
        if let Some(better) = better {
            let context = Arc::clone(self);
            let keeping = run_blocking(move || context.journal.add_receipts(vec![better]));
            keeping.await.map_err(|error| refused(&error))?;
        }
        let (context, path) = (Arc::clone(self), record.path.clone());
        let here = run_blocking(move || here(&context.spool, &record, fingerprint)).await;
        let server = if fresh.is_some() {
            ServerCopy::Sound
        } else {
            ServerCopy::Missing
        };
        Ok(VerifiedFile {
            path,
            receipt,
            server,
            here,
        })
    }
}

impl ReceiptVerifier {
    fn witness(&self, kept: Option<Receipt>) -> ReceiptCheck {
        let Some(receipt) = kept else {
            return ReceiptCheck::Missing;
        };
        match (receipt.signature, self.key) {
            (None, _) => ReceiptCheck::Unsigned,
            (Some(signature), Some(key))
                if key.vouches(&receipt.statement(self.user), &signature) =>
            {
                ReceiptCheck::Signed
            }
            (Some(_), _) => ReceiptCheck::Foreign,
        }
    }
}

/// Reads the file here. Only one that is as it was when it was backed up says anything.
fn here(spool: &Spool, record: &FileRecord, fingerprint: Fingerprint) -> LocalCopy {
    if let FileState::Placeholder { .. } = record.state {
        return LocalCopy::Placeholder;
    }
    let Ok(file) = spool.open_read(&record.path) else {
        return LocalCopy::Unreadable;
    };
    let unchanged = || Spool::identify(&file).is_ok_and(|(_, stamp)| stamp == record.stamp);
    match fingerprint_of(&file) {
        _ if !unchanged() => LocalCopy::Changed,
        Ok(found) if found == fingerprint => LocalCopy::Same,
        Ok(_) => LocalCopy::Differs,
        Err(error) => {
            tracing::warn!(%error, "a photo here cannot be read");
            LocalCopy::Unreadable
        }
    }
}
