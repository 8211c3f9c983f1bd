//! Parcels: several small photos in one request (M5). One photo of a hundred kilobytes costs more
//! in questions, answers and waits for the disk than in bytes.
//!
//! A parcel is never larger than a shard is just now, so that what a broken network costs stays the
//! same, and on a slow one every photo goes by itself. So does any photo that for whatever reason
//! did not come through in a parcel.

use std::sync::Arc;

use heirloom_protocol::batch::{self, BatchEntry, BatchHeader, BatchOutcome};
use heirloom_protocol::message::{Limits, Receipt};

use super::buffer_pool::{BufWriter, BufferPool};
use super::check::{OpenError, open};
use super::context::UploadContext;
use super::job_table::Candidate;
use crate::background::run_blocking;
use crate::remote::{Payload, RemoteError};
use crate::spool::Spool;

/// A photo that is packed is at most this part of the parcel: a larger one gains little by company.
const PHOTO_SHARE: u64 = 4;

/// How a parcel ended.
#[derive(Debug)]
pub(super) struct Delivered {
    /// What was to be sent.
    pub(super) photos: Vec<Candidate>,
    /// A receipt for each that the server has now.
    pub(super) receipts: Result<Vec<Receipt>, RemoteError>,
}

/// Photos that go together, and photos that go by themselves.
#[derive(Debug, Default)]
pub(super) struct Packing {
    pub(super) parcels: Vec<Vec<Candidate>>,
    pub(super) alone: Vec<Candidate>,
}

/// Packs photos of which the server has nothing, in their order. A parcel has at most
/// `shard_bytes`.
pub(super) fn pack(photos: Vec<Candidate>, shard_bytes: u64, limits: Limits) -> Packing {
    let most = shard_bytes
        .min(limits.batch_bytes_max)
        .min(batch::BYTES_MAX);
    let (small, mut alone): (Vec<_>, Vec<_>) = photos
        .into_iter()
        .partition(|photo| photo.size() <= most / PHOTO_SHARE);
    let (mut parcels, mut bytes) = (Vec::<Vec<Candidate>>::new(), 0);
    for photo in small {
        bytes += photo.size();
        match parcels.last_mut() {
            Some(parcel) if bytes <= most && parcel.len() < batch::IMAGES_MAX => {
                parcel.push(photo);
            }
            Some(_) | None => {
                bytes = photo.size();
                parcels.push(vec![photo]);
            }
        }
    }
    alone.extend(parcels.extract_if(.., |parcel| parcel.len() == 1).flatten());
    Packing { parcels, alone }
}

/// Sends a parcel.
pub(super) async fn carry_parcel(desk: Arc<UploadContext>, photos: Vec<Candidate>) -> Delivered {
    let _lane = desk
        .lanes
        .acquire()
        .await
        .expect("the lanes are never closed");
    let receipts = send(&desk, &photos).await;
    Delivered { photos, receipts }
}

async fn send(desk: &UploadContext, photos: &[Candidate]) -> Result<Vec<Receipt>, RemoteError> {
    let bytes = photos.iter().map(Candidate::size).sum();
    let turn = desk.transport.turn(bytes).await;
    let room = turn.room(bytes).await;
    let (sources, spool, trays) = (
        sources(desk, photos),
        desk.spool.clone(),
        desk.transport.trays().clone(),
    );
    // The room travels with the bytes: if this future is dropped, both end together on the other
    // thread.
    let ((packed, body), _room) = run_blocking(move || (load(&spool, &trays, sources), room)).await;
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let unpacked = desk.transport.send_parcel(&packed, body).await?;
    let receipt = |unpacked| match unpacked {
        BatchOutcome::Stored { receipt } => Some(receipt),
        BatchOutcome::Damaged { .. } => None,
    };
    Ok(unpacked.into_iter().filter_map(receipt).collect())
}

/// A file for each photo that still has one. If a file is being written to meanwhile, what it was
/// goes its way, and what it becomes is another photo.
fn sources(desk: &UploadContext, photos: &[Candidate]) -> Vec<Candidate> {
    let roster = &mut desk.board.lock().roster;
    photos
        .iter()
        .filter_map(|photo| roster.source(photo.fingerprint))
        .map(|(source, _)| source)
        .collect()
}

/// Reads the parcel. A file that cannot be read as what it was is left out.
fn load(
    spool: &Spool,
    trays: &BufferPool,
    mut sources: Vec<Candidate>,
) -> (Vec<BatchEntry>, Payload) {
    loop {
        let packed = sources
            .iter()
            .map(|file| BatchEntry {
                fingerprint: file.fingerprint,
                size: file.size(),
            })
            .collect();
        let list = BatchHeader { images: packed };
        let mut photos = trays.fill();
        let unreadable = sources.iter().position(|source| match add(spool, source, &mut photos) {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(path = %source.path, error = &error as &dyn std::error::Error, "not packed");
                true
            }
        });
        let Some(unreadable) = unreadable else {
            let mut body = Payload::from(list.encode());
            body.append(photos.finish());
            return (list.images, body);
        };
        drop(sources.remove(unreadable));
    }
}

fn add(spool: &Spool, source: &Candidate, photos: &mut BufWriter) -> Result<(), OpenError> {
    Ok(open(spool, source)?.add_to(photos)?)
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
    fn a_parcel_is_no_larger_than_a_shard_and_what_the_server_takes() {
        let packing = pack(photos(&[100; 10]), 400, LIMITS);
        assert_eq!(
            packing.parcels.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 4, 2]
        );
        let many = pack(photos(&[1; 130]), 1 << 20, LIMITS);
        assert_eq!(
            many.parcels.iter().map(Vec::len).collect::<Vec<_>>(),
            [64, 64, 2]
        );
        let large = pack(photos(&[200 << 10; 12]), 16 << 20, LIMITS);
        assert_eq!(
            large.parcels.iter().map(Vec::len).collect::<Vec<_>>(),
            [5, 5, 2],
            "a MiB, the server says"
        );
    }

    #[test]
    fn large_photos_and_single_ones_go_by_themselves() {
        let packing = pack(photos(&[101, 50, 400, 50]), 400, LIMITS);
        assert_eq!(
            packing
                .parcels
                .iter()
                .map(|parcel| sizes(parcel))
                .collect::<Vec<_>>(),
            [[50, 50]]
        );
        assert_eq!(sizes(&packing.alone), [101, 400]);
        assert_eq!(sizes(&pack(photos(&[50]), 400, LIMITS).alone), [50]);
    }

    #[test]
    fn a_server_that_takes_no_parcels_gets_none() {
        let packing = pack(
            photos(&[50; 10]),
            400,
            Limits {
                batch_bytes_max: 0,
                ..LIMITS
            },
        );
        assert_eq!((packing.parcels.len(), packing.alone.len()), (0, 10));
    }
}
