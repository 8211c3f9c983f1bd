//! The uploader's limits: how much is in flight, in memory and in one request, and how often and
//! how soon a failed step is repeated. (What tunes the shard size is in `shard_size`.)

use std::time::Duration;

use heirloom_protocol::ShardSize;

// In flight, over all images.

/// Shard bytes in memory at a time: the whole client is to stay under 60 MB.
pub const IN_FLIGHT_BYTES_MAX: u32 = 24 << 20;
/// Requests with image bytes in flight at a time: enough to fill the pauses between request and
/// response, and below what servers allow for one address.
pub const REQUESTS_MAX: usize = 8;
/// Bytes in flight that large files leave to small ones.
pub(super) const SMALL_FILE_BYTES_RESERVED: u32 = 4 << 20;
/// Requests that large files leave to small ones.
pub(super) const SMALL_FILE_REQUESTS_RESERVED: usize = 2;
/// Images being uploaded at a time: open files, and requests wanted from the budget.
pub(super) const UPLOAD_SLOTS: usize = 16;

// Large files.

/// A file of this size or more, in bytes, is a large file, whatever it shows: it is checked by
/// itself and has its own share of the budget.
pub(super) const LARGE_FILE_BYTES: u64 = 32 << 20;
/// Large files claimed at a time, so that a card full of them does not delay new photos.
pub(super) const LARGE_FILES_MAX: usize = 4;
/// Large files remembered as waiting for one of those places. The journal offers the others again
/// and again, in vain, until a place is free.
pub(super) const WAITING_LARGE_FILES_MAX: usize = 1000;
/// Large files read for their proof at a time: two would only keep the disk from the photos.
pub(super) const LARGE_FILE_PROOFS_MAX: usize = 1;

// Shards.

/// Bytes of one shard, at most. Two of a large file's fit into its share, so that one can be read
/// while the other is in flight.
pub(super) const SHARD_BYTES_MAX: u64 =
    (IN_FLIGHT_BYTES_MAX - SMALL_FILE_BYTES_RESERVED) as u64 / 2;
/// Shards of one image in flight at a time: the rest of the budget is for other images.
pub(super) const SHARDS_PER_IMAGE_MAX: usize = 4;
/// Shards in a row that the network may lose before the upload is deferred.
pub(super) const NETWORK_RETRIES_MAX: u32 = 3;
/// Shards that may arrive with a wrong digest; more than that is not the network's fault.
pub(super) const DIGEST_RETRIES_MAX: u32 = 3;
/// Shards that may be too large for something on the way: from the largest size to the smallest it
/// takes 10 halvings.
pub(super) const TOO_LARGE_RETRIES_MAX: u32 = 12;
/// Times one upload is sent again from its start, after the server found a wrong fingerprint.
pub(super) const RESTARTS_MAX: u32 = 1;
/// Times one upload asks why a complete image has no receipt.
pub(super) const COMPLETION_QUERIES_MAX: u32 = 3;

// Batched checks.

/// Files in the first check after an idle time: their upload begins before the other proofs are
/// made. Each check may have twice as many as the one before.
pub(super) const CHECK_FILES_FIRST: usize = 32;
/// Files in one check, at most.
pub(super) const CHECK_FILES_MAX: usize = 500;
/// Bytes of the files in one check, at most: this much is read for proofs before the first answer.
pub(super) const CHECK_BYTES_MAX: u64 = 64 << 20;
/// One file of this many comes from the old end of the queue: new photos come first, and nothing
/// starves.
pub(super) const OLDEST_SHARE: usize = 4;
/// Tasks that read files for proofs at a time: the files come from the page cache, so this is a
/// matter of cores.
pub(super) const PROOF_TASKS_MAX: usize = 2;
/// Files that one such task reads: waking a blocking thread costs as much as proving a small photo.
pub(super) const FILES_PER_PROOF_TASK: usize = 16;

// Batches of small photos.

/// A photo in a batch has at most one part in this many of the batch's bytes: a larger one gains
/// little by it.
pub(super) const BATCH_PHOTO_FRACTION: u64 = 4;

// The scheduler.

/// Claimed images below which the next check starts: enough to keep every slot busy meanwhile.
pub(super) const CLAIMED_IMAGES_LOW: usize = 48;
/// Claimed bytes below which it starts as well: of small photos, many are claimed before the proofs
/// of a check are made.
pub(super) const CLAIMED_BYTES_LOW: u64 = 24 << 20;
/// How long the journal is left alone after it failed.
pub(super) const JOURNAL_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long nothing has to be in flight before the memory for shards is freed.
pub(super) const IDLE_BEFORE_FREEING: Duration = Duration::from_secs(5);
/// The timer when nothing is due.
pub(super) const NOTHING_DUE: Duration = Duration::from_hours(1);
/// Files whose retry is deferred, at most; beyond that, the one nearest to its time is tried early.
pub(super) const DEFERRED_FILES_MAX: usize = 4096;
/// Shortest time between two probes of an unreachable server, however many new files there are.
pub(super) const PROBE_INTERVAL_MIN: Duration = Duration::from_secs(3);
/// Time to the next probe while the server does not accept the token: that changes only when
/// somebody logs in.
pub(super) const LOGIN_PROBE_DELAY: Duration = Duration::from_mins(1);

// Completion.

/// Outcomes written to the journal in one transaction, and outcomes that may queue for it.
pub(super) const COMPLETIONS_PER_COMMIT_MAX: usize = 500;
/// How long outcomes are collected while other images are being uploaded. A commit syncs the disk
/// and so delays every shard that is being read or stored there; nobody misses the receipt
/// meanwhile, and a crash costs one check.
pub(super) const COMMIT_DELAY: Duration = Duration::from_millis(200);
/// Failures that are kept for `status`.
pub(super) const FAILURES_SHOWN_MAX: usize = 20;

// Memory.

/// Bytes in one pooled buffer: large enough for a memory mapping of its own (see
/// `daemon::allocator`), so that freeing it returns it to the kernel; small enough that a shard
/// wastes little of its last one.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// Bytes read at a time of a whole image: few enough to come from the allocator's own pages.
pub(super) const READ_BYTES: usize = 64 << 10;

// A check always has space for one small file.
const _: () = assert!(LARGE_FILE_BYTES <= CHECK_BYTES_MAX);
const _: () =
    assert!(SHARD_BYTES_MAX <= ShardSize::MAX.bytes() && SHARD_BYTES_MAX >= ShardSize::MIN.bytes());
