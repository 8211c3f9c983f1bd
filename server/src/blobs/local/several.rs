//! Several small images at once: all are written, then all synced, then all named, then the folders
//! of the names synced. A filesystem with a journal commits it at the first of these syncs, and the
//! others find little left to do.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_protocol::Fingerprint;

use super::super::{BlobError, Several, Stay};
use super::Places;
use super::incoming::Incoming;

/// Stores those that have their fingerprint.
pub(super) fn store(
    places: &Places,
    images: Vec<(Fingerprint, Bytes)>,
) -> Result<Several, BlobError> {
    let mut damaged = HashSet::new();
    let mut arrived = Vec::with_capacity(images.len());
    for (fingerprint, bytes) in images {
        let mut incoming = Incoming::create(Arc::clone(&places.disk), &places.uploads)?;
        incoming.append(&bytes)?;
        if incoming.found() == fingerprint {
            incoming.begin_writeback();
            arrived.push((fingerprint, incoming));
        } else {
            damaged.insert(fingerprint);
        }
    }
    for (_, incoming) in &arrived {
        incoming.sync()?;
    }
    let (mut placed, mut stays) = (
        Vec::with_capacity(arrived.len()),
        Vec::with_capacity(arrived.len()),
    );
    for (fingerprint, mut incoming) in arrived {
        incoming.place(fingerprint, &places.shelf)?;
        placed.push(fingerprint);
        // Its file is closed here, so that with the folder that is kept there are no more open ones
        // than images.
        stays.push(incoming.stay());
    }
    places.shelf.sync_all(placed.into_iter())?;
    Ok(Several {
        damaged,
        stay: Stay::new(stays),
    })
}
