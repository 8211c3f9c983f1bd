//! Storing a batch of small images: all are written, then all synced, then all named, then the
//! folders of the names synced. A journaling filesystem commits at the first of these syncs, and
//! the others find little left to do.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_protocol::Fingerprint;

use super::super::blob_store::StoredBatch;
use super::super::error::BlobError;
use super::super::prefix_lock::SharedGuard;
use super::directories::Directories;
use super::incoming_file::IncomingFile;

/// Stores the images whose bytes have their fingerprint.
pub(super) fn store(
    dirs: &Directories,
    images: Vec<(Fingerprint, Bytes)>,
) -> Result<StoredBatch, BlobError> {
    let mut mismatched = HashSet::new();
    let mut written = Vec::with_capacity(images.len());
    for (fingerprint, bytes) in images {
        let mut incoming = IncomingFile::create(Arc::clone(&dirs.disk), &dirs.uploads)?;
        incoming.append(&bytes)?;
        if incoming.fingerprint() == fingerprint {
            incoming.begin_writeback();
            written.push((fingerprint, incoming));
        } else {
            mismatched.insert(fingerprint);
        }
    }
    for (_, incoming) in &written {
        incoming.sync()?;
    }
    let (mut placed, mut guards) = (
        Vec::with_capacity(written.len()),
        Vec::with_capacity(written.len()),
    );
    for (fingerprint, mut incoming) in written {
        incoming.place(fingerprint, &dirs.image_dir)?;
        placed.push(fingerprint);
        // Its file is closed here, so that there are no more open files than images, each guard's
        // folder included.
        guards.push(incoming.guard());
    }
    dirs.image_dir.sync_all(placed.into_iter())?;
    Ok(StoredBatch {
        mismatched,
        guard: SharedGuard::new(guards),
    })
}
