//! Crash points: places between two durable states where a test ends the process with SIGKILL.
//!
//! Client and server pass through them; the test then checks that the next start finds nothing
//! lost, torn or untrue.
//!
//! `HEIRLOOM_CRASH_AT=shard-recorded` ends a process when it reaches that point for the first time,
//! `shard-recorded:3` when it reaches it for the third time. The points are in debug builds only: a
//! release build has neither the switch nor their names. `docs/DURABILITY.md` says of each what is
//! durable before and after it, and `tests/e2e/crash_points.rs` tries all of them.

macro_rules! crash_points {
    ($($(#[doc = $doc:literal])* $point:ident = $name:literal,)*) => {
        /// A place where a test can end a process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CrashPoint {
            $($(#[doc = $doc])* $point,)*
        }

        impl CrashPoint {
            /// All points, in the order in which one photo reaches them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// The point's name in `HEIRLOOM_CRASH_AT`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

crash_points! {
    // The client: backing up a file.
    /// The journal exists under its temporary name.
    JournalCreated = "journal-created",
    /// The journal has its final name; the folder is not synced.
    JournalRenamed = "journal-renamed",
    /// A new file has its write state and its name; the program that created it has no answer yet.
    FileCreated = "file-created",
    /// The program closed the file; intake does not know yet.
    FileClosed = "file-closed",
    /// The file's bytes are on the disk.
    FileSynced = "file-synced",
    /// The file's folder entry is on the disk, too.
    FileNameSynced = "file-name-synced",
    /// The write state is removed; the journal has no entry yet.
    WriteStateCleared = "write-state-cleared",
    /// The journal has the file as pending; the uploader does not know yet.
    FileQueued = "file-queued",
    /// The server has a shard; the client's shard list does not have it.
    ShardAcknowledged = "shard-acknowledged",
    /// The client's shard list has it.
    ShardRecorded = "shard-recorded",
    /// The server has the image; the client's sync list does not have it.
    ReceiptReceived = "receipt-received",
    /// The receipt, the file's state and its name's place in the outbox are written.
    ReceiptRecorded = "receipt-recorded",
    /// The library has a batch of names; they are still in the outbox.
    NamesAcknowledged = "names-acknowledged",
    /// The names left the outbox.
    NamesDequeued = "names-dequeued",
    // The client: showing photos of other devices, freeing and fetching.
    /// A placeholder is created without a name.
    PlaceholderCreated = "placeholder-created",
    /// The placeholder has its name.
    PlaceholderLinked = "placeholder-linked",
    /// A page of placeholders is on the disk.
    PlaceholdersSynced = "placeholders-synced",
    /// The journal has recorded that page as shown.
    RemoteNamesRecorded = "remote-names-recorded",
    /// The journal calls a complete local file a placeholder.
    EvictionRecorded = "eviction-recorded",
    /// The file is marked as a placeholder, on the disk, and still has all its bytes.
    EvictionMarked = "eviction-marked",
    /// The file's bytes are removed.
    EvictionPunched = "eviction-punched",
    /// A fetched range is on the disk, and not recorded.
    FetchedRangeSynced = "fetched-range-synced",
    /// The fetched range is recorded on the file.
    FetchedRangeRecorded = "fetched-range-recorded",
    /// All ranges are here, and their hash is right; the file is still marked as a placeholder.
    FetchedFileSynced = "fetched-file-synced",
    /// The placeholder mark is removed; the journal still calls the file a placeholder.
    PlaceholderCleared = "placeholder-cleared",
    /// The journal calls it a local file again.
    FetchRecorded = "fetch-recorded",
    // The server.
    /// A shard is written, and not synced.
    ShardWritten = "shard-written",
    /// The shard is on the disk, with its name; no interruption list has it.
    ShardSynced = "shard-synced",
    /// The interruption list has the shard; the client has no answer.
    ShardListed = "shard-listed",
    /// All bytes of an image are hashed, and the hash is right.
    ImageHashed = "image-hashed",
    /// The image's bytes are on the disk.
    ImageSynced = "image-synced",
    /// The image has its final name; the folder is not synced.
    ImageNamed = "image-named",
    /// The image's folder entry is on the disk; the index does not have it.
    ImageNameSynced = "image-name-synced",
    /// The index has the image; the client has no answer.
    ImageRecorded = "image-recorded",
    /// A proof of possession was right; the image is not linked.
    ProofVerified = "proof-verified",
    /// The image is linked; the client has no answer.
    LinkRecorded = "link-recorded",
    /// The index calls an image damaged; its file still has its name.
    DamageRecorded = "damage-recorded",
    /// The damaged file is in the quarantine; the folders are not synced.
    DamageQuarantined = "damage-quarantined",
    /// A page of stored images was read again; the scrub's position is not recorded.
    PageScrubbed = "page-scrubbed",
    /// The scrub's position is recorded.
    ScrubRecorded = "scrub-recorded",
    /// An upload left the interruption list; its bytes are still there.
    UploadUnlisted = "upload-unlisted",
    /// The library has a batch of names; the client has no answer.
    LibraryRecorded = "library-recorded",
    /// Some old trash is deleted, and images that nothing else names are recorded as unreferenced.
    TrashPurged = "trash-purged",
    /// The index deleted an unreferenced image; its file is still there.
    ImageUnindexed = "image-unindexed",
    /// The file is gone; the folder is not synced.
    ImageRemoved = "image-removed",
}

/// Ends the process here if `HEIRLOOM_CRASH_AT` names this point.
///
/// Called after one durable state and before the next.
#[inline]
pub fn reached(point: CrashPoint) {
    #[cfg(debug_assertions)]
    switch::reached(point);
    #[cfg(not(debug_assertions))]
    let _: CrashPoint = point;
}

#[cfg(debug_assertions)]
mod switch {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::CrashPoint;

    const VARIABLE: &str = "HEIRLOOM_CRASH_AT";

    /// The point at which to end, and how many times it must still be reached.
    struct Target {
        point: String,
        remaining: AtomicU32,
    }

    static TARGET: LazyLock<Option<Target>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (point, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Target {
            point: point.to_owned(),
            remaining: AtomicU32::new(times.parse().unwrap_or(1)),
        })
    });

    pub(super) fn reached(point: CrashPoint) {
        let Some(target) = TARGET
            .as_ref()
            .filter(|target| target.point == point.name())
        else {
            return;
        };
        if target.remaining.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Like a kill from outside: no destructor runs, nothing is flushed.
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn crash_point_names_are_unique() {
        let names: BTreeSet<_> = CrashPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), CrashPoint::ALL.len());
    }

    #[test]
    fn without_the_variable_no_crash_point_ends_the_process() {
        CrashPoint::ALL.iter().copied().for_each(reached);
    }
}
