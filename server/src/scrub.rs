//! The scrub: reads and hashes all stored images again, slowly and continuously, because disks lose
//! data silently.
//!
//! A corrupt image is marked in the index and moved to the quarantine, never deleted; its holders
//! are asked to upload it again, which repairs it. The position of a round survives a restart.

mod verify;

use std::sync::Arc;
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::blobs::{BlobError, BlobStore};
use crate::clock::Clock;
use crate::config::ScrubSchedule;
use crate::index::{Index, IndexError, QuarantineOutcome, ScrubCursor, ScrubPosition};
use crate::metrics::SharedCounters;

use verify::verify_image;

pub use verify::Integrity;

/// Images between two saves of the position: a restart reads up to this many again.
const PAGE: usize = 100;

/// The shortest time between two rounds, whatever the schedule says: a small library
/// is read in no time.
const ROUND_GAP: Duration = Duration::from_secs(1);

/// Images read at a time on request: more would take the disk from uploads.
const REQUESTED_READS_MAX: usize = 2;

/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_mins(1);

/// Verifies stored images. Clones share all state.
#[derive(Clone, Debug)]
pub struct Scrubber {
    index: Index,
    blobs: Arc<dyn BlobStore>,
    counters: SharedCounters,
    /// Permits for requested reads.
    permits: Arc<Semaphore>,
}

/// The result of a scrub round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Images that were read.
    pub images: u64,
    /// Bytes of those images.
    pub bytes: u64,
    /// Images found corrupt, and now requested from their holders.
    pub corrupt: Vec<Fingerprint>,
    /// Images that the storage failed to read, which says nothing about them.
    pub unreadable: u64,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The index failed.
    #[error("look up images to verify or save the position of the scrub")]
    Index(#[source] IndexError),
    /// A corrupt image could not be moved to the quarantine. It is marked in the index all the
    /// same.
    #[error("move the corrupt image {fingerprint} to the quarantine")]
    Quarantine {
        /// The image concerned.
        fingerprint: Fingerprint,
        /// The storage's error.
        source: BlobError,
    },
}

impl Scrubber {
    /// A scrubber over `index` and `blobs`.
    pub fn new(index: Index, blobs: Arc<dyn BlobStore>, counters: SharedCounters) -> Self {
        Self {
            index,
            blobs,
            counters,
            permits: Arc::new(Semaphore::new(REQUESTED_READS_MAX)),
        }
    }

    /// Verifies one image at full speed. A corrupt image is quarantined.
    pub async fn verify_now(
        &self,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<Integrity, ScrubError> {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let integrity = verify_image(
            &*self.blobs,
            fingerprint,
            size,
            &mut Throttle::new(u64::MAX),
        )
        .await;
        if integrity == Integrity::Corrupt {
            self.quarantine(fingerprint).await?;
        }
        Ok(integrity)
    }

    /// Verifies every image once.
    pub async fn scrub_all(&self, bytes_per_second: u64) -> Result<ScrubReport, ScrubError> {
        let mut report = ScrubReport::default();
        let mut throttle = Throttle::new(bytes_per_second);
        let mut after = None;
        while let Some(last) = self.page(after, &mut throttle, &mut report).await? {
            after = Some(last);
        }
        Ok(report)
    }

    /// Continues the current round, and starts the next one when it is due, until `stopping`. Calls
    /// `on_corrupt` after finding corrupt images.
    pub async fn run(
        self,
        schedule: ScrubSchedule,
        clock: Clock,
        on_corrupt: impl Fn(),
        stopping: CancellationToken,
    ) {
        let forever = async {
            loop {
                let pause = match self.step(schedule, &clock, &on_corrupt).await {
                    Ok(pause) => pause,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the scrub failed; it continues after a pause"
                        );
                        ERROR_PAUSE
                    }
                };
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = forever => {}
        }
    }

    /// Verifies one page of the round if one is due; returns how long to wait for the next step.
    async fn step(
        &self,
        schedule: ScrubSchedule,
        clock: &Clock,
        on_corrupt: &impl Fn(),
    ) -> Result<Duration, ScrubError> {
        let now_ms = clock.now_ms();
        let cursor = match self.index.scrub_cursor().await.map_err(ScrubError::Index)? {
            Some(cursor) if cursor.position == ScrubPosition::Done => {
                let due_ms = cursor.began_ms.saturating_add(
                    i64::try_from(schedule.interval.as_millis()).unwrap_or(i64::MAX),
                );
                if let Ok(left_ms @ 1..) = u64::try_from(due_ms.saturating_sub(now_ms)) {
                    return Ok(Duration::from_millis(left_ms).min(schedule.interval));
                }
                ScrubCursor {
                    began_ms: now_ms,
                    position: ScrubPosition::After(None),
                }
            }
            Some(cursor) => cursor,
            None => ScrubCursor {
                began_ms: now_ms,
                position: ScrubPosition::After(None),
            },
        };
        let ScrubPosition::After(after) = cursor.position else {
            return Ok(Duration::ZERO);
        };
        let mut report = ScrubReport::default();
        let last = self
            .page(
                after,
                &mut Throttle::new(schedule.bytes_per_second),
                &mut report,
            )
            .await?;
        if !report.corrupt.is_empty() {
            on_corrupt();
        }
        heirloom_crash::reached(CrashPoint::PageScrubbed);
        let position = last.map_or(ScrubPosition::Done, |last| ScrubPosition::After(Some(last)));
        self.index
            .save_scrub_cursor(ScrubCursor { position, ..cursor })
            .await
            .map_err(ScrubError::Index)?;
        heirloom_crash::reached(CrashPoint::ScrubRecorded);
        Ok(if position == ScrubPosition::Done {
            ROUND_GAP
        } else {
            Duration::ZERO
        })
    }

    /// Verifies the next images after `after`; returns the last of them, `None` at the end.
    async fn page(
        &self,
        after: Option<Fingerprint>,
        throttle: &mut Throttle,
        report: &mut ScrubReport,
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
                    QuarantineOutcome::Marked => report.corrupt.push(*fingerprint),
                    QuarantineOutcome::Gone => {}
                },
                Integrity::Unreadable => report.unreadable += 1,
            }
            (report.images, report.bytes) = (report.images + 1, report.bytes + size);
            self.counters.images_scrubbed.add_one();
            self.counters.bytes_scrubbed.add(*size);
        }
        Ok(images.last().map(|(fingerprint, _)| *fingerprint))
    }

    /// The index first: from then on nobody is told that the image is stored, whatever happens to
    /// the file.
    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<QuarantineOutcome, ScrubError> {
        let found = self
            .index
            .quarantine(fingerprint)
            .await
            .map_err(ScrubError::Index)?;
        if found == QuarantineOutcome::Gone {
            // It became unreferenced and was garbage collected while it was read.
            return Ok(found);
        }
        tracing::error!(
            %fingerprint,
            "a stored image is corrupt; quarantined until it is uploaded again"
        );
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

/// Limits reading to a number of bytes per second.
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

    /// Waits as long as reading this many bytes should have taken.
    async fn throttle(&mut self, bytes: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.next += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        sleep_until(self.next).await;
        // A slow disk is not followed by a burst.
        self.next = self.next.max(Instant::now());
    }
}
