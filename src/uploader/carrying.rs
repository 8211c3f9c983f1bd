//! Carrying: one image from its files to the server, from whichever of them still holds it.

use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{CheckedImage, Limits, Receipt, Session};
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};

use super::asking::{OpenError, ask_about_film, open};
use super::board::Board;
use super::delivery::{Believed, DeliveryError, Witness};
use super::desk::Desk;
use super::roster::Candidate;
use crate::background::run_blocking;
use crate::journal::{Journal, JournalError};

/// How carrying ended.
#[derive(Debug)]
pub(super) enum Carried {
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
pub(super) async fn carry_film(desk: Arc<Desk>, film: Candidate, session: Session) -> Carried {
    match ask_about_film(&desk, &film, &session).await {
        Ok(Some(CheckedImage::Owned { receipt })) => Carried::Owned(receipt),
        Ok(Some(CheckedImage::Linked { receipt })) => Carried::Linked(receipt),
        Ok(Some(wanted @ (CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. }))) => {
            carry(desk, film, wanted, session.limits).await
        }
        Ok(None) => Carried::NoSource,
        Err(error) => Carried::Stuck(error.into()),
    }
}

/// Sends an image, with no more than a few others at a time.
pub(super) async fn carry(
    desk: Arc<Desk>,
    candidate: Candidate,
    checked: CheckedImage,
    limits: Limits,
) -> Carried {
    let _lane = desk
        .lanes
        .acquire()
        .await
        .expect("the lanes are never closed");
    let image = candidate.fingerprint;
    let mut believed = believe(&desk, image, checked).await;
    loop {
        let Some((source, abandoned)) = desk.board.lock().roster.source(image) else {
            return Carried::NoSource;
        };
        let sending = send(
            &desk,
            &source,
            limits,
            std::mem::replace(&mut believed, Believed::Said(RangeSet::new())),
        );
        match abandoned.run_until_cancelled(sending).await {
            Some(Ok(receipt)) => return Carried::Stored(receipt),
            Some(Err(SendError::Delivery(DeliveryError::Image(error)))) => {
                desk.put_off_source(&source, &error.into());
            }
            Some(Err(SendError::Open(error))) => desk.put_off_source(&source, &error),
            Some(Err(SendError::Delivery(error))) => return Carried::Stuck(error),
            // Its owner is writing to it.
            None => tracing::debug!(path = %source.path, "abandoned"),
        }
    }
}

#[derive(Debug)]
enum SendError {
    Open(OpenError),
    Delivery(DeliveryError),
}

async fn send(
    desk: &Desk,
    source: &Candidate,
    limits: Limits,
    believed: Believed,
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
        .carrier
        .deliver(Arc::new(image), limits, believed, witness)
        .await;
    delivered.map_err(SendError::Delivery)
}

/// What is on the server already: its word if it gave one, else our own list (M6).
async fn believe(desk: &Desk, image: Fingerprint, checked: CheckedImage) -> Believed {
    let journal = Arc::clone(&desk.journal);
    match checked {
        CheckedImage::Interrupted { received, .. } => {
            desk.board
                .lock()
                .roster
                .note_progress(image, received.byte_count());
            let said = received.clone();
            log(run_blocking(move || journal.replace_shards(image, &said)).await);
            Believed::Said(received)
        }
        CheckedImage::Absent { .. } | CheckedImage::Owned { .. } | CheckedImage::Linked { .. } => {
            Believed::Noted(
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
    board: Arc<Board>,
    image: Fingerprint,
}

impl Witness for Notes {
    fn acknowledged(&self, range: ByteRange) {
        heirloom_crash::reached(CrashPoint::ShardAcknowledged);
        log(self.journal.note_shard(self.image, range));
        heirloom_crash::reached(CrashPoint::ShardRecorded);
    }

    fn progressed(&self, received_bytes: u64) {
        self.board
            .lock()
            .roster
            .note_progress(self.image, received_bytes);
    }
}
