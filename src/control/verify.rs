//! `POST /verify`: compares receipts, the server's copies and the local copies.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::{Receipt, Session};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::signature::ReceiptKey;

use super::context::ControlState;
use super::error::RequestError;
use super::message::{
    KeyChoice, KeyComparison, LocalCopy, ReceiptCheck, ServerCopy, VERIFY_FILES_MAX, VerifiedFile,
    VerifyRequest, VerifyResponse,
};
use crate::background::run_blocking;
use crate::config::ConfigError;
use crate::journal::{FileId, FileRecord, FileState, JournalError};
use crate::spool::{Kind, Spool, SpoolError, SpoolPath, fingerprint_of};

/// Why a page of files cannot be verified.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("at most {VERIFY_FILES_MAX} files at once, not {0}")]
    TooMany(usize),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The files of one request, and where the next request continues.
#[derive(Debug)]
struct FilePage {
    /// The journal's record of each file; `None` for a file that the journal does not know.
    records: Vec<Option<FileRecord>>,
    next: Option<u64>,
}

pub(super) async fn verify(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, RequestError> {
    // A session from the cache may hold an old key: the server may show another one by now.
    context.remote.renewed_session().await?;
    let session = context.library.session().await?;
    let (shared, choice) = (Arc::clone(&context), request.key);
    let verifier = run_blocking(move || ReceiptVerifier::new(&shared, &session, choice)).await?;
    let shared = Arc::clone(&context);
    let page = run_blocking(move || file_page(&shared, &request)).await?;
    let mut response = VerifyResponse {
        key: verifier.comparison,
        files: Vec::new(),
        not_backed_up: 0,
        next: page.next,
    };
    for record in page.records {
        let Some(record) = record else {
            response.not_backed_up += 1;
            continue;
        };
        match record.state {
            FileState::BackedUp { fingerprint } | FileState::Placeholder { fingerprint } => {
                let file = verified_file(&context, verifier, record, fingerprint).await?;
                response.files.push(file);
            }
            FileState::Pending { .. } | FileState::Failed { .. } => response.not_backed_up += 1,
            FileState::Local { .. } => {}
        }
    }
    Ok(Json(response))
}

fn file_page(context: &ControlState, request: &VerifyRequest) -> Result<FilePage, VerifyError> {
    if request.paths.is_empty() {
        let page = context
            .journal
            .files_after(request.after.map(FileId), VERIFY_FILES_MAX)?;
        let next = page.last().map(|(id, _)| id.0);
        let records = page.into_iter().map(|(_, record)| Some(record)).collect();
        return Ok(FilePage { records, next });
    }
    if request.paths.len() > VERIFY_FILES_MAX {
        return Err(VerifyError::TooMany(request.paths.len()));
    }
    let mut records = Vec::new();
    for path in &request.paths {
        match context.spool.metadata(&SpoolPath::Entry(path.clone())) {
            Ok(metadata) if metadata.kind == Kind::File => {
                let known = context.journal.file(metadata.id)?;
                records.push(known.map(|record| FileRecord {
                    path: path.clone(),
                    ..record
                }));
            }
            // Removed, or replaced by something that is no file, since the client listed it.
            Ok(_) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(FilePage {
        records,
        next: None,
    })
}

async fn verified_file(
    context: &Arc<ControlState>,
    verifier: ReceiptVerifier,
    record: FileRecord,
    fingerprint: Fingerprint,
) -> Result<VerifiedFile, RequestError> {
    let shared = Arc::clone(context);
    let stored = run_blocking(move || shared.journal.receipt(fingerprint)).await?;
    let fresh = context
        .remote
        .fresh_receipt(fingerprint, record.stamp.size)
        .await?;
    let fresh = fresh.map(|fresh| fresh.receipt);
    let receipt = verifier.check(stored);
    let better = fresh.filter(|fresh| {
        receipt != ReceiptCheck::Signed && verifier.check(Some(*fresh)) == ReceiptCheck::Signed
    });
    if let Some(better) = better {
        let shared = Arc::clone(context);
        run_blocking(move || shared.journal.add_receipts(vec![better])).await?;
    }
    let (shared, path) = (Arc::clone(context), record.path.clone());
    let here = run_blocking(move || local_copy(&shared.spool, &record, fingerprint)).await;
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

/// Checks receipts against the server's trusted key.
#[derive(Clone, Copy, Debug)]
struct ReceiptVerifier {
    user: UserId,
    key: Option<ReceiptKey>,
    comparison: KeyComparison,
}

impl ReceiptVerifier {
    /// Compares the server's current key with the one that was trusted on first use. With
    /// [`KeyChoice::Shown`], trusts the current one first.
    fn new(
        context: &ControlState,
        session: &Session,
        choice: KeyChoice,
    ) -> Result<Self, ConfigError> {
        let shown = session.receipt_key;
        let state_dir = &context.state_dir;
        if let (KeyChoice::Shown, Some(key)) = (choice, shown) {
            tracing::warn!("trusting the server's new receipt key, as the user asked");
            state_dir.replace_receipt_key(&session.installation, key)?;
        }
        let key = state_dir.trust_on_first_use(&session.installation, shown)?;
        let comparison = match key {
            None => KeyComparison::None,
            Some(_) if key == shown => KeyComparison::Same,
            Some(_) => KeyComparison::Changed,
        };
        Ok(Self {
            user: session.user,
            key,
            comparison,
        })
    }

    fn check(&self, receipt: Option<Receipt>) -> ReceiptCheck {
        let Some(receipt) = receipt else {
            return ReceiptCheck::Missing;
        };
        match (receipt.signature, self.key) {
            (None, _) => ReceiptCheck::Unsigned,
            (Some(signature), Some(key)) if key.verify(&receipt.payload(self.user), &signature) => {
                ReceiptCheck::Signed
            }
            (Some(_), _) => ReceiptCheck::Foreign,
        }
    }
}

/// Reads the local file and compares it. The comparison counts only if the file was not modified
/// since it was backed up.
fn local_copy(spool: &Spool, record: &FileRecord, fingerprint: Fingerprint) -> LocalCopy {
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
            tracing::warn!(%error, "cannot read a local file to verify it");
            LocalCopy::Unreadable
        }
    }
}
