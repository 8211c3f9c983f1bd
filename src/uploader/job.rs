//! Carrying: one image from its files to the server, from whichever of them still holds it.

use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{CheckedImage, Limits, Receipt, Session};
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};

use super::check::{OpenError, ask_about_film, open};
use super::chunked_upload::{DeliveryError, ProgressSink, ResumeSource};
use super::context::UploadContext;
use super::job_table::Candidate;
use super::state::SharedState;
use crate::background::run_blocking;
use crate::journal::{Journal, JournalError};

/// How carrying ended.
#[derive(Debug)]
pub(super) enum JobOutcome {
    /// The server has it now.
    Stored(Receipt),
    /// It had it before.
    Owned(Receipt),
    /// It had it for somebody else, and took our proof for the bytes.
    Linked(Receipt),
    /// No file of this content is left to send from.
    NoSource,
    /// It could not be sent.
    Stuck(DeliveryError),
}

/// Asks about a film, and sends it unless the server has it.
pub(super) async fn carry_film(
    desk: Arc<UploadContext>,
    film: Candidate,
    session: Session,
) -> JobOutcome {
    match ask_about_film(&desk, &film, &session).await {
        Ok(Some(CheckedImage::Owned { receipt })) => JobOutcome::Owned(receipt),
        Ok(Some(CheckedImage::Linked { receipt })) => JobOutcome::Linked(receipt),
        Ok(Some(wanted @ (CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. }))) => {
            carry(desk, film, wanted, session.limits).await
        }
        Ok(None) => JobOutcome::NoSource,
        Err(error) => JobOutcome::Stuck(error.into()),
    }
}

/// Sends an image, with no more than a few others at a time.
pub(super) async fn carry(
    desk: Arc<UploadContext>,
    candidate: Candidate,
    checked: CheckedImage,
    limits: Limits,
) -> JobOutcome {
    let _lane = desk
        .lanes
        .acquire()
        .await
        .expect("the lanes are never closed");
    let image = candidate.fingerprint;
    let mut believed = believe(&desk, image, checked).await;
    loop {
        let Some((source, abandoned)) = desk.board.lock().roster.source(image) else {
            return JobOutcome::NoSource;
        };
        let sending = send(
            &desk,
            &source,
            limits,
            std::mem::replace(&mut believed, ResumeSource::Server(RangeSet::new())),
        );
        match abandoned.run_until_cancelled(sending).await {
            Some(Ok(receipt)) => return JobOutcome::Stored(receipt),
            Some(Err(SendError::ChunkedUpload(DeliveryError::Image(error)))) => {
                desk.put_off_source(&source, &error.into());
            }
            Some(Err(SendError::Open(error))) => desk.put_off_source(&source, &error),
            Some(Err(SendError::ChunkedUpload(error))) => return JobOutcome::Stuck(error),
            // Its owner is writing to it.
            None => tracing::debug!(path = %source.path, "abandoned"),
        }
    }
}

#[derive(Debug)]
enum SendError {
    Open(OpenError),
    ChunkedUpload(DeliveryError),
}

async fn send(
    desk: &UploadContext,
    source: &Candidate,
    limits: Limits,
    believed: ResumeSource,
) -> Result<Receipt, SendError> {
    let (spool, file) = (desk.spool.clone(), source.clone());
    let image = run_blocking(move || open(&spool, &file))
        .await
        .map_err(SendError::Open)?;
    let witness = Arc::new(Notes {
        journal: Arc::clone(&desk.journal),
        board: Arc::clone(&desk.board),
        image: source.fingerprint,
    });
    let delivered = desk
        .transport
        .deliver(Arc::new(image), limits, believed, witness)
        .await;
    delivered.map_err(SendError::ChunkedUpload)
}

/// What is on the server already: its word if it gave one, else our own list (M6).
async fn believe(desk: &UploadContext, image: Fingerprint, checked: CheckedImage) -> ResumeSource {
    let journal = Arc::clone(&desk.journal);
    match checked {
        CheckedImage::Interrupted { received, .. } => {
            desk.board
                .lock()
                .roster
                .note_progress(image, received.byte_count());
            let said = received.clone();
            log(run_blocking(move || journal.replace_shards(image, &said)).await);
            ResumeSource::Server(received)
        }
        CheckedImage::Absent { .. } | CheckedImage::Owned { .. } | CheckedImage::Linked { .. } => {
            ResumeSource::Journal(
                log(run_blocking(move || journal.shards(image)).await).unwrap_or_default(),
            )
        }
    }
}

/// Losing the shard list costs time, not photos: the server has its own.
fn log<Value>(result: Result<Value, JournalError>) -> Option<Value> {
    result
        .inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the shard list failed"
            );
        })
        .ok()
}

/// Writes the shard list, and tells how far it is.
#[derive(Debug)]
struct Notes {
    journal: Arc<Journal>,
    board: Arc<SharedState>,
    image: Fingerprint,
}

impl ProgressSink for Notes {
    fn on_range_stored(&self, range: ByteRange) {
        heirloom_crash::reached(CrashPoint::ShardAcknowledged);
        log(self.journal.add_shard(self.image, range));
        heirloom_crash::reached(CrashPoint::ShardRecorded);
    }

    fn on_progress(&self, received_bytes: u64) {
        self.board
            .lock()
            .roster
            .note_progress(self.image, received_bytes);
    }
}
