//! Counters of events since the process started, each incremented where the event happens; served
//! by `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds 1.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The present value.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of one server.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered with a status below 400.
    pub requests_served: Counter,
    /// Requests answered with a status of 400 to 499.
    pub requests_refused: Counter,
    /// Requests answered with a status of 500 or more.
    pub requests_failed: Counter,
    /// Images checked for their presence.
    pub images_checked: Counter,
    /// Shards received and made durable.
    pub shards_received: Counter,
    /// Bytes of those shards.
    pub shard_bytes_received: Counter,
    /// Images completed and recorded.
    pub images_stored: Counter,
    /// Images linked after proof of possession.
    pub images_linked: Counter,
    /// Proofs that linked nothing, whether or not the image is stored: every user can read these
    /// numbers.
    pub proofs_refused: Counter,
    /// Corrupt images found and quarantined.
    pub images_quarantined: Counter,
    /// Requests refused by a rate limit.
    pub requests_limited: Counter,
    /// Stored images read and hashed again.
    pub images_scrubbed: Counter,
    /// Bytes of those images.
    pub bytes_scrubbed: Counter,
    /// Unreferenced images removed.
    pub images_collected: Counter,
    /// Bytes of those images.
    pub bytes_collected: Counter,
}

/// The counters as modules share them.
pub type SharedCounters = Arc<Counters>;

impl Counters {
    /// Each counter's metric name, help text and value.
    pub fn all(&self) -> [(&'static str, &'static str, u64); 15] {
        [
            (
                "heirloom_requests_served_total",
                "Requests answered with a status below 400",
                self.requests_served.total(),
            ),
            (
                "heirloom_requests_refused_total",
                "Requests answered with a status of 400 to 499",
                self.requests_refused.total(),
            ),
            (
                "heirloom_requests_failed_total",
                "Requests answered with a status of 500 or above",
                self.requests_failed.total(),
            ),
            (
                "heirloom_images_checked_total",
                "Images checked for their presence",
                self.images_checked.total(),
            ),
            (
                "heirloom_shards_received_total",
                "Shards received and stored durably",
                self.shards_received.total(),
            ),
            (
                "heirloom_shard_bytes_received_total",
                "Bytes of received shards",
                self.shard_bytes_received.total(),
            ),
            (
                "heirloom_images_stored_total",
                "Images completed and recorded",
                self.images_stored.total(),
            ),
            (
                "heirloom_images_linked_total",
                "Images linked after a proof of possession",
                self.images_linked.total(),
            ),
            (
                "heirloom_proofs_refused_total",
                "Proofs of possession that linked nothing",
                self.proofs_refused.total(),
            ),
            (
                "heirloom_images_quarantined_total",
                "Corrupt images found and quarantined",
                self.images_quarantined.total(),
            ),
            (
                "heirloom_requests_limited_total",
                "Requests refused by a rate limit",
                self.requests_limited.total(),
            ),
            (
                "heirloom_images_scrubbed_total",
                "Stored images read and hashed again",
                self.images_scrubbed.total(),
            ),
            (
                "heirloom_bytes_scrubbed_total",
                "Bytes of images read and hashed again",
                self.bytes_scrubbed.total(),
            ),
            (
                "heirloom_images_cleared_total",
                "Unreferenced images removed",
                self.images_collected.total(),
            ),
            (
                "heirloom_bytes_cleared_total",
                "Bytes of unreferenced images removed",
                self.bytes_collected.total(),
            ),
        ]
    }
}
