//! *Crash points*: the places between two durable states, of client and server, where a test ends
//! the process with SIGKILL, to see that nothing is lost, torn or untrue in what is found at the
//! next start.
//!
//! `HEIRLOOM_CRASH_AT=shard-noted` ends a process when it comes to that point, `shard-noted:3` when
//! it comes there for the third time. The points are in debug builds only: a release build has
//! neither the switch nor their names. `docs/DURABILITY.md` says of each what is durable before and
//! after it, and `tests/house/crashing.rs` goes through all of them.

macro_rules! points {
    ($($(#[doc = $doc:literal])* $point:ident = $name:literal,)*) => {
        /// A place where a process can be ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])* $point,)*
        }

        impl Point {
            /// All of them, in the order in which a photo meets them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// As it is called from outside.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    // The client, on the way out.
    /// The journal was made under its temporary name.
    JournalMade = "journal-made",
    /// It has its name; the folder was not synced.
    JournalNamed = "journal-named",
    /// A new file has its mark and its name; its program was not told.
    FileNamed = "file-named",
    /// Its program closed it; intake was not told.
    FileClosed = "file-closed",
    /// Its bytes are on the disk.
    FileSynced = "file-synced",
    /// Its name is, too.
    FileNameSynced = "file-name-synced",
    /// Its mark is gone; nothing is promised.
    MarkRemoved = "mark-removed",
    /// It is promised; the uploader was not told.
    PromiseWritten = "promise-written",
    /// The server has a shard; our list has not.
    ShardAnswered = "shard-answered",
    /// Our list has it.
    ShardNoted = "shard-noted",
    /// The server has the image; our sync list has not.
    ReceiptAnswered = "receipt-answered",
    /// The receipt, the file's state and its name's place in the outbox are written.
    ReceiptWritten = "receipt-written",
    /// The library has a batch of names; our outbox still has them, too.
    NamesAnswered = "names-answered",
    /// They left the outbox.
    NamesConfirmed = "names-confirmed",
    // The client, on the way back.
    /// A placeholder is declared, and has no name yet.
    PlaceholderDeclared = "placeholder-declared",
    /// It has its name.
    PlaceholderNamed = "placeholder-named",
    /// A page of them is on the disk.
    PlaceholdersSynced = "placeholders-synced",
    /// The journal says that they were shown.
    ArrivalWritten = "arrival-written",
    /// The journal calls a whole photo a placeholder.
    FreeRestated = "free-restated",
    /// The photo says so itself, on the disk, and still has all its bytes.
    FreeDeclared = "free-declared",
    /// Its bytes are gone.
    FreePunched = "free-punched",
    /// A piece that was fetched is on the disk, and not noted.
    PieceSynced = "piece-synced",
    /// It is noted on the file.
    PieceNoted = "piece-noted",
    /// All pieces are here, and are what they should be; the file still calls itself a placeholder.
    WholeSynced = "whole-synced",
    /// It does not any more; the journal still does.
    WholeUndeclared = "whole-undeclared",
    /// The journal knows.
    WholeRestated = "whole-restated",
    // The server.
    /// A shard was written, and not synced.
    ShardWritten = "shard-written",
    /// It is on the disk, name and all; no list has it.
    ShardSynced = "shard-synced",
    /// The interruption list has it; nobody was told.
    ShardListed = "shard-listed",
    /// All bytes of an image were hashed, and are right.
    ImageHashed = "image-hashed",
    /// They are on the disk.
    ImageSynced = "image-synced",
    /// The image stands under its name; the folder was not synced.
    ImageNamed = "image-named",
    /// The name is on the disk; the index does not know.
    ImageNameSynced = "image-name-synced",
    /// The index knows; nobody was told.
    ImageRecorded = "image-recorded",
    /// Somebody has proved to have an image; it is not linked.
    ProofRight = "proof-right",
    /// It is linked; nobody was told.
    LinkRecorded = "link-recorded",
    /// The index says that an image is damaged; it still stands under its name.
    DamageRecorded = "damage-recorded",
    /// It stands in the quarantine; the folders were not synced.
    DamageMoved = "damage-moved",
    /// Some stored images were read again; how far the scrub is was not noted.
    PageScrubbed = "page-scrubbed",
    /// It was.
    ScrubNoted = "scrub-noted",
    /// An upload left the list; its bytes are still there.
    UploadForgotten = "upload-forgotten",
    /// The library has a batch of names; nobody was told.
    NamesRecorded = "names-recorded",
    /// Some old trash is forgotten, and what nothing else names is let go of.
    TrashPurged = "trash-purged",
    /// The index does not know an image any more that nobody had; its bytes still stand.
    ImageForgotten = "image-forgotten",
    /// They are gone; the folder was not synced.
    ImageRemoved = "image-removed",
}

/// To be called where a process may end, after one durable state and before the next.
#[inline]
pub fn pass(point: Point) {
    #[cfg(debug_assertions)]
    switch::pass(point);
    #[cfg(not(debug_assertions))]
    let _: Point = point;
}

#[cfg(debug_assertions)]
mod switch {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    const VARIABLE: &str = "HEIRLOOM_CRASH_AT";

    /// Where to end, and how many more times to come there until then.
    struct Wanted {
        point: String,
        left: AtomicU32,
    }

    static WANTED: LazyLock<Option<Wanted>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (point, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Wanted {
            point: point.to_owned(),
            left: AtomicU32::new(times.parse().unwrap_or(1)),
        })
    });

    pub(super) fn pass(point: Point) {
        let Some(wanted) = WANTED
            .as_ref()
            .filter(|wanted| wanted.point == point.name())
        else {
            return;
        };
        if wanted.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // As from outside: no destructor runs, nothing is flushed.
            kill_process(getpid(), Signal::KILL).expect("a process may end itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_points_have_one_name() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn who_wants_no_crash_passes_every_point() {
        Point::ALL.iter().copied().for_each(pass);
    }
}
