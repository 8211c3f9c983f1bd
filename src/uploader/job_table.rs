//! The job table: which files are claimed for upload, and which are deferred until when. In memory
//! only: the queue itself is the journal's, and a file in neither list is simply claimed again.
//!
//! Files with the same content are one job: the image is sent once, from any of them, and all of
//! them are complete then.

use std::collections::{HashMap, HashSet, VecDeque};

use heirloom_protocol::Fingerprint;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::{
    DEFERRED_FILES_MAX, LARGE_FILE_BYTES, LARGE_FILES_MAX, WAITING_LARGE_FILES_MAX,
};
use super::types::{Candidate, DeferReason, Progress};
use crate::journal::FileId;
use crate::remote::Backoff;

/// Claimed files by image, and deferred files.
#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: HashMap<Fingerprint, UploadJob>,
    claimed: HashSet<FileId>,
    deferred: HashMap<FileId, DeferredFile>,
    /// Large files that found all places for large files taken.
    waiting_large: HashSet<FileId>,
    /// When the queue was last read. A file that was still deferred then was not offered.
    queue_read_at: Option<Instant>,
}

/// One image on its way to the server.
#[derive(Debug)]
struct UploadJob {
    files: VecDeque<Candidate>,
    progress: Progress,
    /// The file that is being sent, and the token that stops it.
    sending: Option<(FileId, CancellationToken)>,
}

/// A file that waits after a failure.
#[derive(Debug)]
struct DeferredFile {
    until: Instant,
    backoff: Backoff,
    reason: DeferReason,
}

impl JobTable {
    /// Claims the files that can be worked on; returns one for each image that has no job yet.
    pub(super) fn claim(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        candidates
            .into_iter()
            .filter_map(|candidate| self.claim_one(candidate))
            .collect()
    }

    fn claim_one(&mut self, candidate: Candidate) -> Option<Candidate> {
        if self.claimed.contains(&candidate.id) {
            return None;
        }
        if let Some(job) = self.jobs.get_mut(&candidate.fingerprint) {
            self.claimed.insert(candidate.id);
            job.files.push_back(candidate);
            return None;
        }
        if candidate.is_large() && self.large_jobs() >= LARGE_FILES_MAX {
            if self.waiting_large.len() < WAITING_LARGE_FILES_MAX {
                self.waiting_large.insert(candidate.id);
            }
            return None;
        }
        self.claimed.insert(candidate.id);
        let progress = Progress {
            received_bytes: 0,
            total_bytes: candidate.size(),
        };
        let files = VecDeque::from([candidate.clone()]);
        self.jobs.insert(
            candidate.fingerprint,
            UploadJob {
                files,
                progress,
                sending: None,
            },
        );
        Some(candidate)
    }

    fn large_jobs(&self) -> usize {
        self.jobs
            .values()
            .filter(|job| job.progress.total_bytes >= LARGE_FILE_BYTES)
            .count()
    }

    /// Files that the journal need not offer now, when the queue is read.
    pub(super) fn unavailable(&mut self, now: Instant) -> HashSet<FileId> {
        self.queue_read_at = Some(now);
        let deferred = self
            .deferred
            .iter()
            .filter(|(_, deferred)| deferred.until > now)
            .map(|(id, _)| *id);
        deferred
            .chain(self.claimed.iter().copied())
            .chain(self.waiting_large.iter().copied())
            .collect()
    }

    /// A number that grows whenever more files are unavailable than before.
    pub(super) fn reserved(&self) -> usize {
        self.claimed.len() + self.waiting_large.len()
    }

    /// When the queue must be read again for a deferred file. That may be in the past: a file that
    /// fell due just after the queue was read was not offered, and nothing else would bring it back.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.deferred
            .values()
            .map(|deferred| deferred.until)
            .filter(|until| self.queue_read_at.is_none_or(|read_at| *until > read_at))
            .min()
    }

    /// Images that are claimed.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no image is claimed.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Bytes of the images that are claimed.
    pub(super) fn claimed_bytes(&self) -> u64 {
        self.jobs.values().map(|job| job.progress.total_bytes).sum()
    }

    /// A file to send the image from, and the token that is cancelled if the file is abandoned.
    pub(super) fn source(&mut self, image: Fingerprint) -> Option<(Candidate, CancellationToken)> {
        let job = self.jobs.get_mut(&image)?;
        let candidate = job.files.front()?.clone();
        let token = CancellationToken::new();
        job.sending = Some((candidate.id, token.clone()));
        Some((candidate, token))
    }

    /// Removes a file from its job; if the image is being sent from it, that stops.
    pub(super) fn remove_source(&mut self, id: FileId) {
        self.claimed.remove(&id);
        self.waiting_large.remove(&id);
        for job in self.jobs.values_mut() {
            job.files.retain(|file| file.id != id);
            if let Some((_, token)) = job.sending.take_if(|(sending, _)| *sending == id) {
                token.cancel();
            }
        }
    }

    /// Removes a file whose content is being changed. A back-off for its old content ends.
    pub(super) fn abandon(&mut self, id: FileId) {
        self.remove_source(id);
        self.deferred.remove(&id);
    }

    /// Ends a job; its files stay claimed until they are released, requeued or deferred.
    pub(super) fn finish(&mut self, image: Fingerprint) -> Vec<Candidate> {
        let Some(job) = self.jobs.remove(&image) else {
            return Vec::new();
        };
        if job.progress.total_bytes >= LARGE_FILE_BYTES {
            self.waiting_large.clear();
        }
        job.files.into()
    }

    /// Releases files whose outcome is recorded.
    pub(super) fn release(&mut self, ids: impl IntoIterator<Item = FileId>) {
        for id in ids {
            self.claimed.remove(&id);
            self.deferred.remove(&id);
        }
    }

    /// Returns files to the queue as if nothing had happened.
    pub(super) fn requeue(&mut self, files: &[Candidate]) {
        for file in files {
            self.claimed.remove(&file.id);
        }
    }

    /// Returns a file to the queue for later; each time it waits longer.
    pub(super) fn defer(&mut self, id: FileId, reason: DeferReason, now: Instant) {
        self.claimed.remove(&id);
        if self.deferred.len() >= DEFERRED_FILES_MAX && !self.deferred.contains_key(&id) {
            let nearest = self
                .deferred
                .iter()
                .min_by_key(|(_, deferred)| deferred.until)
                .map(|(id, _)| *id);
            nearest.and_then(|id| self.deferred.remove(&id));
        }
        let entry = self.deferred.entry(id).or_insert(DeferredFile {
            until: now,
            backoff: Backoff::default(),
            reason,
        });
        entry.until = now + entry.backoff.failed(None);
        entry.reason = reason;
    }

    /// Whether the file was deferred since its outcome was last recorded.
    pub(super) fn was_deferred(&self, id: FileId) -> bool {
        self.deferred.contains_key(&id)
    }

    /// Ends the back-off of all files that were deferred because of the network: it was really
    /// down, so the files are not to blame.
    pub(super) fn reset_network_backoff(&mut self) {
        self.deferred
            .retain(|_, deferred| deferred.reason != DeferReason::Network);
    }

    /// Sets how many bytes of an image the server has.
    pub(super) fn set_progress(&mut self, image: Fingerprint, received_bytes: u64) {
        if let Some(job) = self.jobs.get_mut(&image) {
            job.progress.received_bytes = received_bytes;
        }
    }

    /// The progress of the file, if it is being sent.
    pub(super) fn progress(&self, id: FileId) -> Option<Progress> {
        self.uploading()
            .find(|(uploading, _)| *uploading == id)
            .map(|(_, progress)| progress)
    }

    /// The files that are being sent.
    pub(super) fn uploading(&self) -> impl Iterator<Item = (FileId, Progress)> + '_ {
        self.jobs
            .values()
            .filter_map(|job| job.sending.as_ref().map(|(id, _)| (*id, job.progress)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heirloom_protocol::LibraryPath;

    use super::*;
    use crate::journal::Stamp;

    fn candidate(id: u64, content: u8, size: u64) -> Candidate {
        Candidate {
            id: FileId(id),
            path: LibraryPath::new(format!("{id}.jpg")).unwrap(),
            stamp: Stamp { size, mtime_ns: 0 },
            fingerprint: Fingerprint::from([content; 32]),
        }
    }

    #[tokio::test]
    async fn files_with_the_same_content_are_one_job() {
        let mut jobs = JobTable::default();
        let first_files = jobs.claim(vec![
            candidate(1, 7, 10),
            candidate(2, 7, 10),
            candidate(3, 8, 10),
        ]);
        assert_eq!(
            first_files.iter().map(|file| file.id.0).collect::<Vec<_>>(),
            [1, 3]
        );
        assert!(jobs.claim(vec![candidate(4, 7, 10)]).is_empty());
        let ids: Vec<u64> = jobs
            .finish(Fingerprint::from([7; 32]))
            .iter()
            .map(|file| file.id.0)
            .collect();
        assert_eq!(ids, [1, 2, 4]);
        assert!(
            jobs.unavailable(Instant::now()).contains(&FileId(4)),
            "until its outcome is recorded"
        );
        jobs.release([FileId(4)]);
        assert!(!jobs.unavailable(Instant::now()).contains(&FileId(4)));
    }

    #[tokio::test]
    async fn abandoning_the_source_stops_it_and_another_file_replaces_it() {
        let mut jobs = JobTable::default();
        jobs.claim(vec![candidate(1, 7, 10), candidate(2, 7, 10)]);
        let (first, token) = jobs.source(Fingerprint::from([7; 32])).unwrap();
        jobs.abandon(FileId(2));
        assert!(!token.is_cancelled(), "only its own file stops it");
        jobs.claim(vec![candidate(3, 7, 10)]);
        jobs.abandon(first.id);
        assert!(token.is_cancelled());
        assert_eq!(
            jobs.source(Fingerprint::from([7; 32])).unwrap().0.id,
            FileId(3)
        );
    }

    #[tokio::test]
    async fn large_files_leave_places_for_small_ones() {
        let mut jobs = JobTable::default();
        let ten = (1..=10)
            .map(|id| candidate(u64::from(id), id, LARGE_FILE_BYTES))
            .collect();
        assert_eq!(jobs.claim(ten).len(), LARGE_FILES_MAX);
        assert_eq!(jobs.claim(vec![candidate(99, 99, 10)]).len(), 1);
        assert!(jobs.unavailable(Instant::now()).contains(&FileId(10)));
        jobs.finish(Fingerprint::from([1; 32]));
        assert!(
            !jobs.unavailable(Instant::now()).contains(&FileId(10)),
            "a place is free again"
        );
    }

    #[tokio::test]
    async fn a_deferred_file_waits_longer_each_time_and_the_list_is_bounded() {
        let mut jobs = JobTable::default();
        let now = Instant::now();
        jobs.defer(FileId(1), DeferReason::Upload, now);
        let first = jobs.next_retry().unwrap() - now;
        for _ in 0..5 {
            jobs.defer(FileId(1), DeferReason::Upload, now);
        }
        assert!(jobs.next_retry().unwrap() - now > first * 4);
        for id in 0..2 * DEFERRED_FILES_MAX as u64 {
            jobs.defer(FileId(id), DeferReason::Network, now);
        }
        assert!(jobs.unavailable(now).len() <= DEFERRED_FILES_MAX);
        jobs.reset_network_backoff();
        assert!(jobs.unavailable(now).len() <= 1);
        jobs.unavailable(now + Duration::from_hours(1));
        assert_eq!(jobs.next_retry(), None, "all were offered");
    }

    #[tokio::test]
    async fn a_file_that_falls_due_while_the_queue_is_read_is_not_forgotten() {
        let mut jobs = JobTable::default();
        let now = Instant::now();
        jobs.defer(FileId(1), DeferReason::Network, now);
        let due = jobs.next_retry().unwrap();
        // The queue is read a moment too early, and the scheduler looks for deadlines later.
        assert!(jobs.unavailable(now).contains(&FileId(1)));
        assert_eq!(jobs.next_retry(), Some(due));
        assert!(jobs.unavailable(due).is_empty());
        assert_eq!(jobs.next_retry(), None, "it was offered");
    }
}
