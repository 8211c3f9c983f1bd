//! A batch: several small photos sent in one request. A photo of a hundred kilobytes costs more in
//! requests, answers and waits for the disk than in bytes.
//!
//! A batch is never larger than the present shard size, so that a broken connection costs the same,
//! and on a slow one every photo is sent alone. So is any photo that did not arrive in a batch, for
//! whatever reason.

use std::sync::Arc;

use heirloom_protocol::batch::{self, BatchEntry, BatchHeader, BatchOutcome};
use heirloom_protocol::message::{Limits, Receipt};

use super::buffer_pool::{BufferPool, PayloadWriter};
use super::context::UploadContext;
use super::image_file::ImageFile;
use super::limits::BATCH_PHOTO_FRACTION;
use super::types::{Candidate, OpenError};
use crate::background::run_blocking;
use crate::remote::{Payload, RemoteError};
use crate::spool::Spool;

/// How a batch ended.
#[derive(Debug)]
pub(super) struct FinishedBatch {
    /// The photos that were to be sent.
    pub(super) photos: Vec<Candidate>,
    /// A receipt for each that the server has now.
    pub(super) receipts: Result<Vec<Receipt>, RemoteError>,
}

/// Which photos are sent together, and which alone.
#[derive(Debug, Default)]
pub(super) struct BatchPlan {
    pub(super) batches: Vec<Vec<Candidate>>,
    pub(super) alone: Vec<Candidate>,
}

impl BatchPlan {
    /// Plans photos of which the server has nothing, in their order. A batch has at most
    /// `shard_bytes`.
    pub(super) fn new(photos: Vec<Candidate>, shard_bytes: u64, limits: Limits) -> Self {
        let most = shard_bytes
            .min(limits.batch_bytes_max)
            .min(batch::BYTES_MAX);
        let (small, mut alone): (Vec<_>, Vec<_>) = photos
            .into_iter()
            .partition(|photo| photo.size() <= most / BATCH_PHOTO_FRACTION);
        let (mut batches, mut bytes) = (Vec::<Vec<Candidate>>::new(), 0);
        for photo in small {
            bytes += photo.size();
            match batches.last_mut() {
                Some(batch) if bytes <= most && batch.len() < batch::IMAGES_MAX => {
                    batch.push(photo);
                }
                Some(_) | None => {
                    bytes = photo.size();
                    batches.push(vec![photo]);
                }
            }
        }
        alone.extend(batches.extract_if(.., |batch| batch.len() == 1).flatten());
        Self { batches, alone }
    }
}

/// Sends a batch, as soon as an upload slot is free.
pub(super) async fn upload_batch(
    context: Arc<UploadContext>,
    photos: Vec<Candidate>,
) -> FinishedBatch {
    let _slot = context
        .slots
        .acquire()
        .await
        .expect("the slots are never closed");
    let receipts = send(&context, &photos).await;
    FinishedBatch { photos, receipts }
}

async fn send(context: &UploadContext, photos: &[Candidate]) -> Result<Vec<Receipt>, RemoteError> {
    let bytes = photos.iter().map(Candidate::size).sum();
    let permit = context.transport.request_permit(bytes).await;
    let bytes_permit = permit.reserve_bytes(bytes).await;
    let (sources, spool, buffers) = (
        sources(context, photos),
        context.spool.clone(),
        context.transport.buffers().clone(),
    );
    // The permit travels with the bytes: if this future is dropped, both are dropped together on
    // the other thread.
    let ((entries, body), _bytes_permit) =
        run_blocking(move || (read_batch(&spool, &buffers, sources), bytes_permit)).await;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes = context.transport.send_batch(&entries, body).await?;
    let receipt = |outcome| match outcome {
        BatchOutcome::Stored { receipt } => Some(receipt),
        BatchOutcome::Damaged { .. } => None,
    };
    Ok(outcomes.into_iter().filter_map(receipt).collect())
}

/// A file for each photo that still has one. If a file is being written to meanwhile, its old
/// content is sent, and its new content is another photo.
fn sources(context: &UploadContext, photos: &[Candidate]) -> Vec<Candidate> {
    let jobs = &mut context.state.lock().jobs;
    photos
        .iter()
        .filter_map(|photo| jobs.source(photo.fingerprint))
        .map(|(source, _)| source)
        .collect()
}

/// Reads the photos of a batch. A file that changed or cannot be read is left out.
fn read_batch(
    spool: &Spool,
    buffers: &BufferPool,
    mut sources: Vec<Candidate>,
) -> (Vec<BatchEntry>, Payload) {
    loop {
        let entries = sources
            .iter()
            .map(|file| BatchEntry {
                fingerprint: file.fingerprint,
                size: file.size(),
            })
            .collect();
        let header = BatchHeader { images: entries };
        let mut photos = buffers.writer();
        let unreadable = sources.iter().position(|source| {
            append(spool, source, &mut photos)
                .inspect_err(|error| {
                    tracing::debug!(
                        path = %source.path,
                        error = error as &dyn std::error::Error,
                        "left out of the batch"
                    );
                })
                .is_err()
        });
        let Some(unreadable) = unreadable else {
            let mut body = Payload::from(header.encode());
            body.append(photos.finish());
            return (header.images, body);
        };
        drop(sources.remove(unreadable));
    }
}

fn append(spool: &Spool, source: &Candidate, photos: &mut PayloadWriter) -> Result<(), OpenError> {
    Ok(ImageFile::open(spool, source)?.append_to(photos)?)
}

#[cfg(test)]
mod tests {
    use heirloom_protocol::{Fingerprint, LibraryPath};

    use super::*;
    use crate::journal::{FileId, Stamp};

    const LIMITS: Limits = Limits {
        check_images_max: 1000,
        library_changes_max: 1000,
        shard_bytes_min: 1,
        shard_bytes_max: 16 << 20,
        image_bytes_max: 1 << 30,
        batch_bytes_max: 1 << 20,
    };

    fn photos(sizes: &[u64]) -> Vec<Candidate> {
        let candidate = |(id, size): (usize, &u64)| Candidate {
            id: FileId(id as u64),
            path: LibraryPath::new(format!("{id}.jpg")).unwrap(),
            stamp: Stamp {
                size: *size,
                mtime_ns: 0,
            },
            fingerprint: Fingerprint::of(&id.to_le_bytes()),
        };
        sizes.iter().enumerate().map(candidate).collect()
    }

    fn sizes(photos: &[Candidate]) -> Vec<u64> {
        photos.iter().map(Candidate::size).collect()
    }

    #[test]
    fn a_batch_is_no_larger_than_a_shard_and_the_servers_limit() {
        let plan = BatchPlan::new(photos(&[100; 10]), 400, LIMITS);
        assert_eq!(
            plan.batches.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 4, 2]
        );
        let many = BatchPlan::new(photos(&[1; 130]), 1 << 20, LIMITS);
        assert_eq!(
            many.batches.iter().map(Vec::len).collect::<Vec<_>>(),
            [64, 64, 2]
        );
        let large = BatchPlan::new(photos(&[200 << 10; 12]), 16 << 20, LIMITS);
        assert_eq!(
            large.batches.iter().map(Vec::len).collect::<Vec<_>>(),
            [5, 5, 2],
            "the server accepts a MiB"
        );
    }

    #[test]
    fn large_photos_and_single_ones_are_sent_alone() {
        let plan = BatchPlan::new(photos(&[101, 50, 400, 50]), 400, LIMITS);
        assert_eq!(
            plan.batches
                .iter()
                .map(|batch| sizes(batch))
                .collect::<Vec<_>>(),
            [[50, 50]]
        );
        assert_eq!(sizes(&plan.alone), [101, 400]);
        assert_eq!(
            sizes(&BatchPlan::new(photos(&[50]), 400, LIMITS).alone),
            [50]
        );
    }

    #[test]
    fn a_server_that_accepts_no_batches_gets_none() {
        let plan = BatchPlan::new(
            photos(&[50; 10]),
            400,
            Limits {
                batch_bytes_max: 0,
                ..LIMITS
            },
        );
        assert_eq!((plan.batches.len(), plan.alone.len()), (0, 10));
    }
}
