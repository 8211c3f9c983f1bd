//! Arrival: one shard comes in, is held against its digest, and is made durable.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use heirloom_crash::CrashPoint;
use heirloom_protocol::message::UploadState;
use heirloom_protocol::{ByteRange, ContentDigest, Fingerprint, Fingerprinter, RangeSet};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{SHARD_MEMORY_WAIT, SHARD_TIME_MAX, UploadError, UploadService, index_failed};
use crate::accounts::Caller;
use crate::blobs::{BlobError, ByteStream, SharedGuard, UploadKey};
use crate::index::{IndexError, InterruptedUpload};

/// A shard as it was announced, and its bytes as they come in. The range lies inside `0..size`, and
/// is no longer than the largest shard.
pub struct Shard {
    /// Of which image.
    pub fingerprint: Fingerprint,
    /// The whole image's length in bytes.
    pub size: u64,
    /// Where in the image.
    pub range: ByteRange,
    /// What the bytes must hash to.
    pub digest: ContentDigest,
    /// The bytes.
    pub body: ByteStream<'static>,
}

impl Shard {
    const fn is_whole_image(&self) -> bool {
        self.range.len() == self.size
    }
}

impl UploadService {
    /// Takes a shard in (M5). Answers what has arrived, or the receipt if the image is whole with
    /// it.
    ///
    /// May be dropped half-way, as when the sender hangs up: what has come until then is kept all
    /// the same, and a write goes on by itself.
    pub async fn receive(&self, caller: &Caller, shard: Shard) -> Result<UploadState, UploadError> {
        let key = UploadKey {
            user: caller.user,
            fingerprint: shard.fingerprint,
        };
        self.ask_for_room(caller, shard.fingerprint, shard.size)
            .await?;
        if shard.is_whole_image() {
            // Nobody is asked whether it is there already: the sender asked just now, and bytes
            // that have their fingerprint are right whatever was said before.
            return self.take_aside(key, shard, None).await;
        }
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(UploadState::Stored { receipt });
        }
        let begun = self.upload_of(key).await?;
        check_length(begun.as_ref(), shard.size)?;
        let memory = self.reserve_memory(shard.range.len()).await?;
        self.take_aside(key, shard, Some(memory)).await
    }

    /// Goes on in a task of its own. Whoever asked is dropped when the sender hangs up, and that is
    /// just when what came has to be kept; nor can a write be called back that was handed to the
    /// disk.
    async fn take_aside(
        &self,
        key: UploadKey,
        shard: Shard,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<UploadState, UploadError> {
        let room = self.clone();
        let taking = async move {
            let taken = if shard.is_whole_image() {
                room.take_whole(key, shard).await
            } else {
                room.take_part(key, shard).await
            };
            drop(memory);
            taken
        };
        let taken = self.writes.spawn(taking.in_current_span()).await;
        taken.map_err(|_| UploadError::TaskFailed(key.fingerprint))?
    }

    /// An image in one shard is hashed on its way to the disk and needs no memory.
    async fn take_whole(&self, key: UploadKey, shard: Shard) -> Result<UploadState, UploadError> {
        let Shard {
            fingerprint,
            size,
            range,
            digest,
            body,
        } = shard;
        if digest.fingerprint() != fingerprint {
            return Err(wrong_either_way(fingerprint, range, digest, body).await);
        }
        match self.blobs.store(fingerprint, size, body).await {
            Ok(guard) => {
                self.count_shard(range);
                self.record_whole(key, size, guard).await
            }
            // Digest and fingerprint are one here: the bytes were damaged on the way, and may be
            // sent again.
            Err(BlobError::WrongFingerprint { .. }) => Err(UploadError::DigestMismatch(range)),
            Err(BlobError::Sender { source, partial }) => {
                self.keep_partial_body(key, size, partial).await;
                Err(UploadError::Sender(source))
            }
            Err(BlobError::WrongLength { expected, found }) => {
                Err(UploadError::Sender(wrong_length(expected, found)))
            }
            Err(
                source @ (BlobError::Missing(_)
                | BlobError::TooShort { .. }
                | BlobError::Full { .. }
                | BlobError::Io { .. }),
            ) => Err(UploadError::Blobs {
                fingerprint,
                source,
            }),
        }
    }

    /// Parts that came before are of no use any more. Alone with the upload, so that no shard is
    /// added to them meanwhile.
    async fn record_whole(
        &self,
        key: UploadKey,
        size: u64,
        guard: SharedGuard,
    ) -> Result<UploadState, UploadError> {
        let _alone = self.locks.lock_all(key).await;
        let begun = self.upload_of(key).await?;
        let recorded = self.record(key, size, guard).await;
        if begun.is_none() && recorded.is_err() {
            // Nobody goes on from here: whoever wants it sends it again.
            self.clearing.remove_rejected(key.fingerprint).await;
        }
        let state = recorded?;
        if begun.is_some() {
            let discarded = self.blobs.discard(key).await;
            discarded.map_err(|source| UploadError::Blobs {
                fingerprint: key.fingerprint,
                source,
            })?;
        }
        Ok(state)
    }

    async fn take_part(&self, key: UploadKey, shard: Shard) -> Result<UploadState, UploadError> {
        let Shard {
            size,
            range,
            digest,
            body,
            ..
        } = shard;
        let mut came = BytesMut::new();
        let collected = timeout(SHARD_TIME_MAX, collect(body, range.len(), &mut came)).await;
        match collected.unwrap_or_else(|_| Err(UploadError::Sender(too_slow()))) {
            Ok(()) => {
                self.write_part(key, size, range, digest, came.freeze())
                    .await
            }
            Err(error) => {
                self.keep_part(key, size, range.start(), came.freeze())
                    .await;
                Err(error)
            }
        }
    }

    /// Memory for a shard or a parcel of so many bytes.
    pub(super) async fn reserve_memory(
        &self,
        bytes: u64,
    ) -> Result<OwnedSemaphorePermit, UploadError> {
        let bytes = u32::try_from(bytes).expect("a shard is at most 16 MiB");
        let reserved = timeout(
            SHARD_MEMORY_WAIT,
            Arc::clone(&self.memory).acquire_many_owned(bytes),
        )
        .await;
        reserved
            .map_err(|_| UploadError::Overloaded)
            .map(|permit| permit.expect("the semaphore is never closed"))
    }

    async fn write_part(
        &self,
        key: UploadKey,
        size: u64,
        range: ByteRange,
        digest: ContentDigest,
        bytes: Bytes,
    ) -> Result<UploadState, UploadError> {
        let bytes = verified(bytes, range, digest).await?;
        let upload = {
            let _turn = self.locks.lock(key, range).await;
            self.write_missing(key, size, range, &bytes).await?
        };
        match upload {
            Upload::Going(upload) if upload.received.covers(size) => self.seal(key, size).await,
            Upload::Going(upload) => Ok(UploadState::Receiving {
                size,
                received: upload.received,
            }),
            Upload::Over(state) => Ok(state),
        }
    }

    /// Writes what the list does not have yet (rule 1), then adds it to the list (rule 2). Needs
    /// the turn.
    pub(super) async fn write_missing(
        &self,
        key: UploadKey,
        size: u64,
        range: ByteRange,
        bytes: &Bytes,
    ) -> Result<Upload, UploadError> {
        let fingerprint = key.fingerprint;
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(Upload::Over(UploadState::Stored { receipt }));
        }
        let begun = self.upload_of(key).await?;
        check_length(begun.as_ref(), size)?;
        let missing = begun.as_ref().map_or_else(
            || RangeSet::from(range),
            |upload| RangeSet::from(range).without(&upload.received),
        );
        if let (true, Some(upload)) = (missing.is_empty(), begun) {
            return Ok(Upload::Going(upload));
        }
        for piece in missing.iter() {
            let written = self
                .blobs
                .write(key, piece.start(), slice(bytes, range, piece))
                .await;
            written.map_err(|source| UploadError::Blobs {
                fingerprint,
                source,
            })?;
        }
        let noted = self
            .index
            .record_shard(key.user, fingerprint, size, range)
            .await;
        let upload = noted.map_err(|source| length_or_index(fingerprint, source))?;
        heirloom_crash::reached(CrashPoint::ShardListed);
        self.count_shard(range);
        Ok(Upload::Going(upload))
    }

    pub(super) fn count_shard(&self, range: ByteRange) {
        self.counters.shards_received.add_one();
        self.counters.shard_bytes_received.add(range.len());
    }
}

/// What became of an upload while a shard waited for its turn.
pub(super) enum Upload {
    Going(InterruptedUpload),
    Over(UploadState),
}

pub(super) fn check_length(begun: Option<&InterruptedUpload>, now: u64) -> Result<(), UploadError> {
    match begun {
        Some(begun) if begun.size != now => Err(UploadError::LengthMismatch {
            first: begun.size,
            now,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Another server process may have begun the upload with another length since we looked.
pub(super) fn length_or_index(fingerprint: Fingerprint, source: IndexError) -> UploadError {
    match source {
        IndexError::SizeMismatch { begun, announced } => UploadError::LengthMismatch {
            first: begun,
            now: announced,
        },
        source => index_failed(fingerprint, source),
    }
}

/// The digest and the fingerprint of a whole image differ, so one of them is wrong; only the bytes
/// can say which. Nothing is stored.
async fn wrong_either_way(
    expected: Fingerprint,
    range: ByteRange,
    digest: ContentDigest,
    mut body: ByteStream<'static>,
) -> UploadError {
    let mut fingerprinter = Fingerprinter::default();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => fingerprinter.update(&piece),
            Err(source) => return UploadError::Sender(source),
        }
    }
    let found = fingerprinter.finish();
    if found == digest.fingerprint() {
        UploadError::FingerprintMismatch { expected, found }
    } else {
        UploadError::DigestMismatch(range)
    }
}

/// All bytes of a body that was announced to be so long, in memory. What came before an error
/// stands in `bytes`, too.
pub(super) async fn collect(
    mut body: ByteStream<'static>,
    announced: u64,
    bytes: &mut BytesMut,
) -> Result<(), UploadError> {
    let length = usize::try_from(announced).expect("a shard is at most 16 MiB");
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(UploadError::Sender)?;
        if bytes.len() + piece.len() > length {
            return Err(UploadError::Sender(wrong_length(
                announced,
                (bytes.len() + piece.len()) as u64,
            )));
        }
        if bytes.is_empty() {
            bytes.reserve(length);
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() < length {
        return Err(UploadError::Sender(wrong_length(
            announced,
            bytes.len() as u64,
        )));
    }
    Ok(())
}

/// The bytes again, if they have their digest. Hashing 16 MiB takes too long for the reactor.
async fn verified(
    bytes: Bytes,
    range: ByteRange,
    digest: ContentDigest,
) -> Result<Bytes, UploadError> {
    let body = bytes.clone();
    let hashed = tokio::task::spawn_blocking(move || ContentDigest::of(&body)).await;
    match hashed {
        Ok(found) if found == digest => Ok(bytes),
        Ok(_) => Err(UploadError::DigestMismatch(range)),
        Err(_) => Err(UploadError::TaskFailed(digest.fingerprint())),
    }
}

/// The bytes of `piece` out of those of `range`, which holds it.
fn slice(bytes: &Bytes, range: ByteRange, piece: ByteRange) -> Bytes {
    let at =
        |offset: u64| usize::try_from(offset - range.start()).expect("a shard is at most 16 MiB");
    bytes.slice(at(piece.start())..at(piece.end()))
}

pub(super) fn too_slow() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the shard is too large for how fast it comes",
    )
}

fn wrong_length(expected: u64, found: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{found} bytes arrived of {expected}"),
    )
}
