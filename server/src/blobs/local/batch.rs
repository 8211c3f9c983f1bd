//! Several small images at once: all are written, then all synced, then all named, then the folders
//! of the names synced. A filesystem with a journal commits it at the first of these syncs, and the
//! others find little left to do.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_protocol::Fingerprint;

use super::super::{BlobError, SharedGuard, StoredBatch};
use super::Directories;
use super::incoming_file::IncomingFile;

/// Stores those that have their fingerprint.
pub(super) fn store(
    dirs: &Directories,
    images: Vec<(Fingerprint, Bytes)>,
) -> Result<StoredBatch, BlobError> {
    let mut mismatched = HashSet::new();
    let mut arrived = Vec::with_capacity(images.len());
    for (fingerprint, bytes) in images {
        let mut incoming = IncomingFile::create(Arc::clone(&dirs.disk), &dirs.uploads)?;
        incoming.append(&bytes)?;
        if incoming.found() == fingerprint {
            incoming.begin_writeback();
            arrived.push((fingerprint, incoming));
        } else {
            mismatched.insert(fingerprint);
        }
    }
    for (_, incoming) in &arrived {
        incoming.sync()?;
    }
    let (mut placed, mut guards) = (
        Vec::with_capacity(arrived.len()),
        Vec::with_capacity(arrived.len()),
    );
    for (fingerprint, mut incoming) in arrived {
        incoming.place(fingerprint, &dirs.image_dir)?;
        placed.push(fingerprint);
        // Its file is closed here, so that with the folder that is kept there are no more open ones
        // than images.
        guards.push(incoming.guard());
    }
    dirs.image_dir.sync_all(placed.into_iter())?;
    Ok(StoredBatch {
        mismatched,
        guard: SharedGuard::new(guards),
    })
}
