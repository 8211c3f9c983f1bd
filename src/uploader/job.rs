//! An upload job: sends one image to the server, from any of its files.

use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{CheckedImage, Limits, Receipt, Session};
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};

use super::check::check_large_file;
use super::chunked_upload::ChunkedUpload;
use super::context::UploadContext;
use super::image_file::ImageFile;
use super::interfaces::UploadJournal;
use super::state::SharedState;
use super::types::{Candidate, OpenError, ProgressSink, ResumeSource, UploadError};
use crate::background::run_blocking;
use crate::journal::JournalError;

/// How a job ended.
#[derive(Debug)]
pub(super) enum JobOutcome {
    /// The image was sent.
    Sent(Receipt),
    /// The server had it from this user.
    AlreadyStored(Receipt),
    /// The server linked another user's copy after our proof.
    Linked(Receipt),
    /// No file with this content is left to send from.
    NoSource,
    /// The image could not be sent.
    Failed(UploadError),
}

/// Checks a large file, and sends it unless the server has it.
pub(super) async fn upload_large_file(
    context: Arc<UploadContext>,
    file: Candidate,
    session: Session,
) -> JobOutcome {
    match check_large_file(&context, &file, &session).await {
        Ok(Some(CheckedImage::Owned { receipt })) => JobOutcome::AlreadyStored(receipt),
        Ok(Some(CheckedImage::Linked { receipt })) => JobOutcome::Linked(receipt),
        Ok(Some(wanted @ (CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. }))) => {
            upload_image(context, file, wanted, session.limits).await
        }
        Ok(None) => JobOutcome::NoSource,
        Err(error) => JobOutcome::Failed(error.into()),
    }
}

/// Sends an image, as soon as an upload slot is free.
pub(super) async fn upload_image(
    context: Arc<UploadContext>,
    candidate: Candidate,
    checked: CheckedImage,
    limits: Limits,
) -> JobOutcome {
    let _slot = context
        .slots
        .acquire()
        .await
        .expect("the slots are never closed");
    let image = candidate.fingerprint;
    let mut resume = resume_source(&context, image, checked).await;
    loop {
        let Some((source, abandoned)) = context.state.lock().jobs.source(image) else {
            return JobOutcome::NoSource;
        };
        let resume_now = std::mem::replace(&mut resume, ResumeSource::Server(RangeSet::new()));
        let sending = send(&context, &source, limits, resume_now);
        match abandoned.run_until_cancelled(sending).await {
            Some(Ok(receipt)) => return JobOutcome::Sent(receipt),
            Some(Err(SendError::Upload(UploadError::Image(error)))) => {
                context.defer_source(&source, &error.into());
            }
            Some(Err(SendError::Open(error))) => context.defer_source(&source, &error),
            Some(Err(SendError::Upload(error))) => return JobOutcome::Failed(error),
            // A program is writing to it.
            None => tracing::debug!(path = %source.path, "abandoned"),
        }
    }
}

/// Why an image could not be sent from one of its files.
#[derive(Debug)]
enum SendError {
    Open(OpenError),
    Upload(UploadError),
}

async fn send(
    context: &UploadContext,
    source: &Candidate,
    limits: Limits,
    resume: ResumeSource,
) -> Result<Receipt, SendError> {
    let (spool, file) = (context.spool.clone(), source.clone());
    let image = run_blocking(move || ImageFile::open(&spool, &file))
        .await
        .map_err(SendError::Open)?;
    let progress = Arc::new(JournalProgress {
        journal: Arc::clone(&context.journal),
        state: Arc::clone(&context.state),
        image: source.fingerprint,
    });
    ChunkedUpload::new(
        &context.transport,
        Arc::new(image),
        limits,
        resume,
        progress,
    )
    .run()
    .await
    .map_err(SendError::Upload)
}

/// What the server has already: its interruption list if the check returned one, else our shard
/// list.
async fn resume_source(
    context: &UploadContext,
    image: Fingerprint,
    checked: CheckedImage,
) -> ResumeSource {
    let journal = Arc::clone(&context.journal);
    match checked {
        CheckedImage::Interrupted { received, .. } => {
            context
                .state
                .lock()
                .jobs
                .set_progress(image, received.byte_count());
            let server_list = received.clone();
            log_failure(run_blocking(move || journal.replace_shards(image, &server_list)).await);
            ResumeSource::Server(received)
        }
        CheckedImage::Absent { .. } | CheckedImage::Owned { .. } | CheckedImage::Linked { .. } => {
            let shards = run_blocking(move || journal.shards(image)).await;
            ResumeSource::Journal(log_failure(shards).unwrap_or_default())
        }
    }
}

/// Logs a failure of the shard list. Losing it costs time, not photos: the server has its own.
fn log_failure<Value>(result: Result<Value, JournalError>) -> Option<Value> {
    result
        .inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "cannot use the shard list in the journal"
            );
        })
        .ok()
}

/// Writes the shard list to the journal, and the progress to the shared state.
#[derive(Debug)]
struct JournalProgress {
    journal: Arc<dyn UploadJournal>,
    state: Arc<SharedState>,
    image: Fingerprint,
}

impl ProgressSink for JournalProgress {
    fn on_range_stored(&self, range: ByteRange) {
        heirloom_crash::reached(CrashPoint::ShardAcknowledged);
        log_failure(self.journal.add_shard(self.image, range));
        heirloom_crash::reached(CrashPoint::ShardRecorded);
    }

    fn on_progress(&self, received_bytes: u64) {
        self.state
            .lock()
            .jobs
            .set_progress(self.image, received_bytes);
    }
}
