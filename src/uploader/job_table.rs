//! The roster: which files are in our hands, and which are put off until when. In memory only: the
//! queue itself is the journal's, and a file that is on neither list is simply picked again.
//!
//! Files of the same content are one job: it is sent once, from any of them, and settles all of
//! them.

use std::collections::{HashMap, HashSet, VecDeque};

use heirloom_protocol::{Fingerprint, LibraryPath};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::budget::FILM_BYTES;
use crate::journal::{FileId, Stamp};
use crate::remote::Backoff;

/// Files put off at a time; beyond that the one nearest to its time is tried again early.
const PUT_OFF_MAX: usize = 4096;
/// Films in hand at a time, so that a card full of them does not keep new photos waiting.
const FILMS_MAX: usize = 4;

/// A pending file, as the journal had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: FileId,
    pub(super) path: LibraryPath,
    pub(super) stamp: Stamp,
    pub(super) fingerprint: Fingerprint,
}

impl Candidate {
    pub(super) const fn size(&self) -> u64 {
        self.stamp.size
    }

    pub(super) const fn is_film(&self) -> bool {
        self.size() >= FILM_BYTES
    }
}

/// Why a file is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its own delivery went wrong.
    Own,
    /// The network was away, as far as this delivery could tell.
    Network,
}

/// Films remembered to be waiting for a place; the journal offers the others in vain until one is
/// free.
const BEHIND_FILMS_MAX: usize = 1000;

/// Who is where.
#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: HashMap<Fingerprint, Job>,
    taken: HashSet<FileId>,
    put_off: HashMap<FileId, PutOff>,
    /// Films that found all places for films taken.
    behind_films: HashSet<FileId>,
}

#[derive(Debug)]
struct Job {
    files: VecDeque<Candidate>,
    progress: Progress,
    /// The file that is being sent, and the way to stop that.
    sending: Option<(FileId, CancellationToken)>,
}

#[derive(Debug)]
struct PutOff {
    until: Instant,
    backoff: Backoff,
    reason: Reason,
}

impl JobTable {
    /// Takes what can be worked on; answers one file for each image that nobody works on yet.
    pub(super) fn take(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        candidates
            .into_iter()
            .filter_map(|candidate| self.take_one(candidate))
            .collect()
    }

    fn take_one(&mut self, candidate: Candidate) -> Option<Candidate> {
        if self.taken.contains(&candidate.id) {
            return None;
        }
        if let Some(job) = self.jobs.get_mut(&candidate.fingerprint) {
            self.taken.insert(candidate.id);
            job.files.push_back(candidate);
            return None;
        }
        if candidate.is_film() && self.films() >= FILMS_MAX {
            if self.behind_films.len() < BEHIND_FILMS_MAX {
                self.behind_films.insert(candidate.id);
            }
            return None;
        }
        self.taken.insert(candidate.id);
        let progress = Progress {
            received_bytes: 0,
            total_bytes: candidate.size(),
        };
        let files = VecDeque::from([candidate.clone()]);
        self.jobs.insert(
            candidate.fingerprint,
            Job {
                files,
                progress,
                sending: None,
            },
        );
        Some(candidate)
    }

    fn films(&self) -> usize {
        self.jobs
            .values()
            .filter(|job| job.progress.total_bytes >= FILM_BYTES)
            .count()
    }

    /// Whom the journal need not offer now.
    pub(super) fn unavailable(&self, now: Instant) -> HashSet<FileId> {
        let put_off = self
            .put_off
            .iter()
            .filter(|(_, put_off)| put_off.until > now)
            .map(|(id, _)| *id);
        put_off
            .chain(self.taken.iter().copied())
            .chain(self.behind_films.iter().copied())
            .collect()
    }

    /// A number that differs whenever fewer files are available than before.
    pub(super) fn reserved(&self) -> usize {
        self.taken.len() + self.behind_films.len()
    }

    /// When the next file that was put off may be tried again.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.put_off
            .values()
            .map(|put_off| put_off.until)
            .filter(|until| *until > now)
            .min()
    }

    /// Images in hand.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Their bytes.
    pub(super) fn job_bytes(&self) -> u64 {
        self.jobs.values().map(|job| job.progress.total_bytes).sum()
    }

    /// A file to send the image from, and the token that is cancelled if it is abandoned.
    pub(super) fn source(&mut self, image: Fingerprint) -> Option<(Candidate, CancellationToken)> {
        let job = self.jobs.get_mut(&image)?;
        let candidate = job.files.front()?.clone();
        let token = CancellationToken::new();
        job.sending = Some((candidate.id, token.clone()));
        Some((candidate, token))
    }

    /// This file is no source any more, and not in our hands.
    pub(super) fn let_go(&mut self, id: FileId) {
        self.taken.remove(&id);
        self.behind_films.remove(&id);
        for job in self.jobs.values_mut() {
            job.files.retain(|file| file.id != id);
            if let Some((_, token)) = job.sending.take_if(|(sending, _)| *sending == id) {
                token.cancel();
            }
        }
    }

    /// Lets go of a file whose content is being changed; nothing that was put off for its old
    /// content counts.
    pub(super) fn abandon(&mut self, id: FileId) {
        self.let_go(id);
        self.put_off.remove(&id);
    }

    /// The end of a job: its files stay taken until they are released or put off.
    pub(super) fn finish(&mut self, image: Fingerprint) -> Vec<Candidate> {
        let Some(job) = self.jobs.remove(&image) else {
            return Vec::new();
        };
        if job.progress.total_bytes >= FILM_BYTES {
            self.behind_films.clear();
        }
        job.files.into()
    }

    /// These files are settled.
    pub(super) fn release(&mut self, ids: impl IntoIterator<Item = FileId>) {
        for id in ids {
            self.taken.remove(&id);
            self.put_off.remove(&id);
        }
    }

    /// These files go back to the queue as if nothing had happened.
    pub(super) fn give_back(&mut self, files: &[Candidate]) {
        for file in files {
            self.taken.remove(&file.id);
        }
    }

    /// Not now: longer each time.
    pub(super) fn put_off(&mut self, id: FileId, reason: Reason, now: Instant) {
        self.taken.remove(&id);
        if self.put_off.len() >= PUT_OFF_MAX && !self.put_off.contains_key(&id) {
            let nearest = self
                .put_off
                .iter()
                .min_by_key(|(_, put_off)| put_off.until)
                .map(|(id, _)| *id);
            nearest.and_then(|id| self.put_off.remove(&id));
        }
        let entry = self.put_off.entry(id).or_insert(PutOff {
            until: now,
            backoff: Backoff::default(),
            reason,
        });
        entry.until = now + entry.backoff.failed(None);
        entry.reason = reason;
    }

    /// Whether the file was put off since it was last settled: something went wrong with it.
    pub(super) fn was_put_off(&self, id: FileId) -> bool {
        self.put_off.contains_key(&id)
    }

    /// The network was really away: whoever was put off because of it is innocent.
    pub(super) fn pardon(&mut self) {
        self.put_off
            .retain(|_, put_off| put_off.reason != Reason::Network);
    }

    /// So many bytes of an image have arrived.
    pub(super) fn note_progress(&mut self, image: Fingerprint, received_bytes: u64) {
        if let Some(job) = self.jobs.get_mut(&image) {
            job.progress.received_bytes = received_bytes;
        }
    }

    /// How far the file is that is being sent.
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

    use super::*;

    fn candidate(id: u64, content: u8, size: u64) -> Candidate {
        Candidate {
            id: FileId(id),
            path: LibraryPath::new(format!("{id}.jpg")).unwrap(),
            stamp: Stamp { size, mtime_ns: 0 },
            fingerprint: Fingerprint::from([content; 32]),
        }
    }

    #[tokio::test]
    async fn the_same_content_is_one_job_that_settles_all_its_files() {
        let mut roster = JobTable::default();
        let heads = roster.take(vec![
            candidate(1, 7, 10),
            candidate(2, 7, 10),
            candidate(3, 8, 10),
        ]);
        assert_eq!(
            heads.iter().map(|head| head.id.0).collect::<Vec<_>>(),
            [1, 3]
        );
        assert!(roster.take(vec![candidate(4, 7, 10)]).is_empty());
        let ids: Vec<u64> = roster
            .finish(Fingerprint::from([7; 32]))
            .iter()
            .map(|file| file.id.0)
            .collect();
        assert_eq!(ids, [1, 2, 4]);
        assert!(
            roster.unavailable(Instant::now()).contains(&FileId(4)),
            "until it is settled"
        );
        roster.release([FileId(4)]);
        assert!(!roster.unavailable(Instant::now()).contains(&FileId(4)));
    }

    #[tokio::test]
    async fn abandoning_the_source_stops_it_and_leaves_the_image_to_another_file() {
        let mut roster = JobTable::default();
        roster.take(vec![candidate(1, 7, 10), candidate(2, 7, 10)]);
        let (first, token) = roster.source(Fingerprint::from([7; 32])).unwrap();
        roster.abandon(FileId(2));
        assert!(!token.is_cancelled(), "only its own file stops it");
        roster.take(vec![candidate(3, 7, 10)]);
        roster.abandon(first.id);
        assert!(token.is_cancelled());
        assert_eq!(
            roster.source(Fingerprint::from([7; 32])).unwrap().0.id,
            FileId(3)
        );
    }

    #[tokio::test]
    async fn films_leave_room_for_photos() {
        let mut roster = JobTable::default();
        let ten = (1..=10)
            .map(|id| candidate(u64::from(id), id, FILM_BYTES))
            .collect();
        assert_eq!(roster.take(ten).len(), FILMS_MAX);
        assert_eq!(roster.take(vec![candidate(99, 99, 10)]).len(), 1);
        assert!(roster.unavailable(Instant::now()).contains(&FileId(10)));
        roster.finish(Fingerprint::from([1; 32]));
        assert!(
            !roster.unavailable(Instant::now()).contains(&FileId(10)),
            "a place is free again"
        );
    }

    #[tokio::test]
    async fn a_file_put_off_is_left_alone_for_longer_each_time_and_the_list_has_an_end() {
        let mut roster = JobTable::default();
        let now = Instant::now();
        roster.put_off(FileId(1), Reason::Own, now);
        let first = roster.next_due(now).unwrap() - now;
        for _ in 0..5 {
            roster.put_off(FileId(1), Reason::Own, now);
        }
        assert!(roster.next_due(now).unwrap() - now > first * 4);
        for id in 0..2 * PUT_OFF_MAX as u64 {
            roster.put_off(FileId(id), Reason::Network, now);
        }
        assert!(roster.unavailable(now).len() <= PUT_OFF_MAX);
        roster.pardon();
        assert!(roster.unavailable(now).len() <= 1);
        assert_eq!(roster.next_due(now + Duration::from_hours(1)), None);
    }
}
