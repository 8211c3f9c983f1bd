//! The scrub: stored images are read again and hashed, slowly and for ever, because disks forget
//! without saying so.
//!
//! What is damaged is marked in the index and moved aside, never deleted; whoever holds the image
//! is asked for it, and sending it heals it. How far a round has come outlives a restart.

mod verify;

use std::sync::Arc;
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::config::ScrubSchedule;
use crate::index::{Index, IndexError, QuarantineOutcome, ScrubCursor, ScrubPosition};
use crate::metrics::SharedCounters;

use verify::verify_image;

pub use verify::Integrity;

/// Images between two notes of how far a round is: a restart reads so many again.
const PAGE: usize = 100;

/// Between two rounds at least, whatever the schedule says: a small library is read in no time.
const ROUND_GAP: Duration = Duration::from_secs(1);

/// Images read at a time because somebody asked: more would take the disk from those who upload.
const LOOKS_MAX: usize = 2;

/// After an error, before the round goes on.
const REST: Duration = Duration::from_mins(1);

/// Looks through stored images. Clones share everything.
#[derive(Clone, Debug)]
pub struct Scrubber {
    index: Index,
    blobs: Arc<dyn Blobs>,
    counters: SharedCounters,
    /// Free looks of those that somebody waits for.
    looks: Arc<Semaphore>,
}

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Images that were read.
    pub images: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were damaged, and are waited for now.
    pub damaged: Vec<Fingerprint>,
    /// Those that the storage did not give, which says nothing about them.
    pub unread: u64,
}

/// What ends a round early.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The index failed.
    #[error("look up what to read again")]
    Index(#[source] IndexError),
    /// A damaged image could not be moved aside. It is marked all the same.
    #[error("move {fingerprint} aside")]
    Quarantine {
        /// Which.
        fingerprint: Fingerprint,
        /// Why not.
        source: BlobError,
    },
}

impl Scrubber {
    /// Over what `index` knows and `blobs` has.
    pub fn new(index: Index, blobs: Arc<dyn Blobs>, counters: SharedCounters) -> Self {
        Self {
            index,
            blobs,
            counters,
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
        }
    }

    /// Reads one image, now and as fast as the disk gives it. What is damaged is quarantined.
    pub async fn verify_now(
        &self,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<Integrity, ScrubError> {
        let _free = self
            .looks
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let verdict = verify_image(
            &*self.blobs,
            fingerprint,
            size,
            &mut Throttle::new(u64::MAX),
        )
        .await;
        if verdict == Integrity::Corrupt {
            self.quarantine(fingerprint).await?;
        }
        Ok(verdict)
    }

    /// Reads every image once, now.
    pub async fn scrub_all(&self, bytes_per_second: u64) -> Result<ScrubReport, ScrubError> {
        let mut round = ScrubReport::default();
        let mut throttle = Throttle::new(bytes_per_second);
        let mut after = None;
        while let Some(last) = self.page(after, &mut throttle, &mut round).await? {
            after = Some(last);
        }
        Ok(round)
    }

    /// Goes on with the round that was begun, and begins the next when its time has come, until
    /// `stopping`. Calls `found` when it found something.
    pub async fn run(
        self,
        schedule: ScrubSchedule,
        clock: Clock,
        on_corrupt: impl Fn(),
        stopping: CancellationToken,
    ) {
        let for_ever = async {
            loop {
                let rest = match self.some(schedule, &clock, &on_corrupt).await {
                    Ok(rest) => rest,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the scrub rests"
                        );
                        REST
                    }
                };
                sleep(rest).await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = for_ever => {}
        }
    }

    /// One page of the round, if it is time for one; how long to rest then.
    async fn some(
        &self,
        schedule: ScrubSchedule,
        clock: &Clock,
        on_corrupt: &impl Fn(),
    ) -> Result<Duration, ScrubError> {
        let now_ms = clock.now_ms();
        let mark = match self.index.scrub_cursor().await.map_err(ScrubError::Index)? {
            Some(mark) if mark.step == ScrubPosition::Done => {
                let due_ms = mark.began_ms.saturating_add(
                    i64::try_from(schedule.interval.as_millis()).unwrap_or(i64::MAX),
                );
                if let Ok(left_ms @ 1..) = u64::try_from(due_ms.saturating_sub(now_ms)) {
                    return Ok(Duration::from_millis(left_ms).min(schedule.interval));
                }
                ScrubCursor {
                    began_ms: now_ms,
                    step: ScrubPosition::After(None),
                }
            }
            Some(mark) => mark,
            None => ScrubCursor {
                began_ms: now_ms,
                step: ScrubPosition::After(None),
            },
        };
        let ScrubPosition::After(after) = mark.step else {
            return Ok(Duration::ZERO);
        };
        let mut round = ScrubReport::default();
        let last = self
            .page(
                after,
                &mut Throttle::new(schedule.bytes_per_second),
                &mut round,
            )
            .await?;
        if !round.damaged.is_empty() {
            on_corrupt();
        }
        heirloom_crash::reached(CrashPoint::PageScrubbed);
        let step = last.map_or(ScrubPosition::Done, |last| ScrubPosition::After(Some(last)));
        self.index
            .save_scrub_cursor(ScrubCursor { step, ..mark })
            .await
            .map_err(ScrubError::Index)?;
        heirloom_crash::reached(CrashPoint::ScrubRecorded);
        Ok(if step == ScrubPosition::Done {
            ROUND_GAP
        } else {
            Duration::ZERO
        })
    }

    /// Reads the next images behind `after`; answers the last of them, none at the end.
    async fn page(
        &self,
        after: Option<Fingerprint>,
        throttle: &mut Throttle,
        round: &mut ScrubReport,
    ) -> Result<Option<Fingerprint>, ScrubError> {
        let images = self
            .index
            .stored_images(after, PAGE)
            .await
            .map_err(ScrubError::Index)?;
        for (fingerprint, size) in &images {
            match verify_image(&*self.blobs, *fingerprint, *size, throttle).await {
                Integrity::Intact => {}
                Integrity::Corrupt => match self.quarantine(*fingerprint).await? {
                    QuarantineOutcome::Marked => round.damaged.push(*fingerprint),
                    QuarantineOutcome::Gone => {}
                },
                Integrity::Unreadable => round.unread += 1,
            }
            (round.images, round.bytes) = (round.images + 1, round.bytes + size);
            self.counters.images_scrubbed.add_one();
            self.counters.bytes_scrubbed.add(*size);
        }
        Ok(images.last().map(|(fingerprint, _)| *fingerprint))
    }

    /// The index first: from then on nobody is told that the image is here, whatever becomes of the
    /// file.
    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<QuarantineOutcome, ScrubError> {
        let found = self
            .index
            .quarantine(fingerprint)
            .await
            .map_err(ScrubError::Index)?;
        if found == QuarantineOutcome::Gone {
            // Its last holder let go of it, and it was cleared away while it was read.
            return Ok(found);
        }
        tracing::error!(%fingerprint, "a stored image is damaged; quarantined until it is sent again");
        self.counters.images_quarantined.add_one();
        heirloom_crash::reached(CrashPoint::DamageRecorded);
        let moved = self.blobs.quarantine(fingerprint).await;
        moved
            .map(|()| found)
            .map_err(|source| ScrubError::Quarantine {
                fingerprint,
                source,
            })
    }
}

/// So many bytes in a second, and no more.
#[derive(Debug)]
struct Throttle {
    bytes_per_second: u64,
    /// When the next byte may be read.
    next: Instant,
}

impl Throttle {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            next: Instant::now(),
        }
    }

    /// Waits for so long as reading so many bytes should have taken.
    async fn keep(&mut self, bytes: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.next += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        sleep_until(self.next).await;
        // Time that the disk lost is not made up for with a burst.
        self.next = self.next.max(Instant::now());
    }
}
