//! What has happened since the process started, in numbers. Only ever counted up, each where the
//! thing itself happens; read by `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// `more` more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers. Shared by all rooms of one server.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered with a status below 400.
    pub requests_served: Counter,
    /// Requests answered with a status of 400 to 499.
    pub requests_refused: Counter,
    /// Requests answered with a status of 500 or more.
    pub requests_failed: Counter,
    /// Images asked about in checks.
    pub images_checked: Counter,
    /// Shards that were made durable.
    pub shards_received: Counter,
    /// Their bytes.
    pub shard_bytes_received: Counter,
    /// Images that became whole here.
    pub images_stored: Counter,
    /// Images linked after proof of possession.
    pub images_linked: Counter,
    /// Proofs that linked nothing. Whether the image is here at all makes no difference: every user
    /// can read these numbers.
    pub proofs_refused: Counter,
    /// Images found damaged and moved out of the way.
    pub images_quarantined: Counter,
    /// Requests of those who asked too often.
    pub requests_limited: Counter,
    /// Stored images that were read and hashed again.
    pub images_scrubbed: Counter,
    /// Their bytes.
    pub bytes_scrubbed: Counter,
    /// Images removed because nobody referred to them any more.
    pub images_cleared: Counter,
    /// Their bytes.
    pub bytes_cleared: Counter,
}

/// What rooms hold.
pub type SharedCounters = Arc<Counters>;

impl Counters {
    /// Each number with its name and its caption.
    pub fn all(&self) -> [(&'static str, &'static str, u64); 15] {
        [
            (
                "heirloom_requests_served_total",
                "Requests answered below 400",
                self.requests_served.total(),
            ),
            (
                "heirloom_requests_refused_total",
                "Requests answered 400 to 499",
                self.requests_refused.total(),
            ),
            (
                "heirloom_requests_failed_total",
                "Requests answered 500 or more",
                self.requests_failed.total(),
            ),
            (
                "heirloom_images_checked_total",
                "Images asked about",
                self.images_checked.total(),
            ),
            (
                "heirloom_shards_received_total",
                "Shards made durable",
                self.shards_received.total(),
            ),
            (
                "heirloom_shard_bytes_received_total",
                "Bytes of those shards",
                self.shard_bytes_received.total(),
            ),
            (
                "heirloom_images_stored_total",
                "Images that became whole",
                self.images_stored.total(),
            ),
            (
                "heirloom_images_linked_total",
                "Images linked after proof",
                self.images_linked.total(),
            ),
            (
                "heirloom_proofs_refused_total",
                "Proofs that linked nothing",
                self.proofs_refused.total(),
            ),
            (
                "heirloom_images_quarantined_total",
                "Images found damaged",
                self.images_quarantined.total(),
            ),
            (
                "heirloom_requests_limited_total",
                "Requests of those who asked too often",
                self.requests_limited.total(),
            ),
            (
                "heirloom_images_scrubbed_total",
                "Stored images read again",
                self.images_scrubbed.total(),
            ),
            (
                "heirloom_bytes_scrubbed_total",
                "Bytes of those images",
                self.bytes_scrubbed.total(),
            ),
            (
                "heirloom_images_cleared_total",
                "Images removed that nobody had",
                self.images_cleared.total(),
            ),
            (
                "heirloom_bytes_cleared_total",
                "Bytes of those images",
                self.bytes_cleared.total(),
            ),
        ]
    }
}
