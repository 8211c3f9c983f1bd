//! Several small images at once: all are written, then all synced, then all named, then the folders of the names synced.
//! A filesystem with a journal commits it at the first of these syncs, and the others find little left to do.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_protocol::Fingerprint;

use super::super::BlobError;
use super::Places;
use super::incoming::Incoming;

/// Stores those that have their fingerprint; answers the others.
pub(super) fn store(places: &Places, images: Vec<(Fingerprint, Bytes)>) -> Result<HashSet<Fingerprint>, BlobError> {
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
    for (fingerprint, incoming) in &mut arrived {
        incoming.place(*fingerprint, &places.shelf)?;
    }
    places.shelf.sync_all(arrived.iter().map(|(fingerprint, _)| *fingerprint))?;
    Ok(damaged)
}
