//! *Taking in*: a worker takes files that came to rest, looks at them, makes them durable, and writes the promises.
//!
//! Several at a time, because the flushes that make a promise true cost the same for one file as for many.

use std::io;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::inside::Inside;
use super::look::{Found, Look};
use super::notes::{Glance, QUIET};
use crate::journal::{FileId, FileRecord, FileState, JournalError};

/// So many files are taken in together, each with an open descriptor.
const BATCH_FILES: usize = 64;

/// So many bytes are taken in together (or one file that is larger): small photos do not wait long for large neighbours.
const BATCH_BYTES: u64 = 64 << 20;

/// After the journal could not be written, it is tried again so much later.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// After a file could not be read, it is tried again so much later, then twice that, and so on.
const READ_RETRY_FIRST: Duration = Duration::from_secs(1);
/// But at least so often: somebody may have plugged the disk in again.
const READ_RETRY_MAX: Duration = Duration::from_secs(300);

/// What becomes of a note after the look.
#[derive(Debug)]
enum Afterwards {
    Settled,
    /// Due again at this time.
    Again(Instant),
    /// The journal says that it failed; due again at this time.
    Failing(Instant),
}

/// What a batch changes in the journal, and what becomes of its notes.
#[derive(Debug, Default)]
struct Entries {
    records: Vec<(FileId, FileRecord)>,
    gone: Vec<FileId>,
    notes: Vec<(Glance, Afterwards)>,
}

impl Inside {
    /// A worker's life.
    pub(super) fn work(&self) {
        let mut buffer = Vec::new();
        while let Some(glances) = self.desk.take_due(BATCH_FILES) {
            let found = self.look_at(glances, &mut buffer);
            self.enter(found);
        }
    }

    fn look_at(&self, glances: Vec<Glance>, buffer: &mut Vec<u8>) -> Vec<(Glance, Found)> {
        let (mut looks, mut found) = (Vec::new(), Vec::new());
        for glance in glances {
            match Look::begin(&self.spool, self.accept, glance) {
                Ok(look) => looks.push(look),
                Err(judged) => found.push(judged),
            }
        }
        looks.sort_by_key(|look| look.stamp.size);
        let too_many = looks.split_off(batch_length(&looks));
        found.extend(too_many.into_iter().map(|look| (look.glance, Found::Interrupted)));
        looks.iter().for_each(Look::begin_writeback);
        let mut read = Vec::new();
        for look in looks {
            match look.fingerprint(buffer, || goes_on(&self.desk, &look.glance)) {
                Ok(fingerprint) => read.push((look, fingerprint)),
                Err(why) => found.push((look.glance, why)),
            }
        }
        let sealed = read.into_iter().map(|(look, fingerprint)| look.seal(fingerprint)).collect();
        found.extend(self.make_names_durable(sealed));
        found
    }

    fn make_names_durable(&self, mut sealed: Vec<(Glance, Found)>) -> Vec<(Glance, Found)> {
        let folders: Vec<_> = sealed
            .iter()
            .filter(|(_, found)| matches!(found, Found::Whole { .. }))
            .map(|(glance, _)| glance.path.parent())
            .collect();
        let failed = self.folders.make_durable(&self.spool, folders.iter().map(Option::as_ref));
        for (glance, found) in &mut sealed {
            if let (Some(error), Found::Whole { stamp, fingerprint }) = (failed.get(&glance.path.parent()), &*found) {
                *found = match error.kind() {
                    // The folder has another name now; so does the file.
                    io::ErrorKind::NotFound => Found::Interrupted,
                    kind => Found::NotDurable { stamp: *stamp, fingerprint: *fingerprint, error: kind.into() },
                };
            }
        }
        sealed
    }

    /// Writes what was found, for as far as it is still true.
    fn enter(&self, found: Vec<(Glance, Found)>) {
        let mut ledger = self.ledger();
        let glances: Vec<Glance> = found.iter().map(|(glance, _)| glance.clone()).collect();
        let entered = self.catch_up(&mut ledger).and_then(|()| self.write_down(found));
        match entered {
            Ok(notes) => self.settle(notes),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "promises could not be written; trying again");
                let later = Instant::now() + JOURNAL_RETRY;
                self.settle(glances.into_iter().map(|glance| (glance, Afterwards::Again(later))).collect());
            }
        }
    }

    fn write_down(&self, found: Vec<(Glance, Found)>) -> Result<Vec<(Glance, Afterwards)>, JournalError> {
        let mut entries = Entries::default();
        for (glance, found) in found {
            self.weigh(&mut entries, glance, found)?;
        }
        let promised = entries.records.iter().filter(|(_, it)| matches!(it.state, FileState::Pending { .. })).count();
        if !entries.records.is_empty() {
            self.journal.record(entries.records)?;
        }
        if !entries.gone.is_empty() {
            self.journal.forget(entries.gone)?;
        }
        if promised > 0 {
            self.neighbours.promised();
        }
        Ok(entries.notes)
    }

    /// Decides what one look means.
    fn weigh(&self, entries: &mut Entries, glance: Glance, found: Found) -> Result<(), JournalError> {
        let (now, id) = (Instant::now(), glance.id);
        let Some(path) = self.desk.state().notes.name_now(&glance).cloned() else { return Ok(()) };
        let known = self.known(id)?;
        let mut afterwards = Afterwards::Settled;
        let record = match found {
            Found::Interrupted => return Ok(entries.notes.push((glance, Afterwards::Again(now)))),
            Found::Changed => return Ok(entries.notes.push((glance, Afterwards::Again(now + QUIET)))),
            Found::Gone if path != glance.path => return Ok(entries.notes.push((glance, Afterwards::Again(now)))),
            Found::Gone => {
                // Unless the journal knows it under another name: then it is there.
                entries.gone.extend(known.filter(|it| it.path == path).map(|_| id));
                return Ok(entries.notes.push((glance, Afterwards::Settled)));
            }
            Found::Left { stamp, left } => {
                FileRecord { path, stamp, state: FileState::Local { why: left.to_string() } }
            }
            Found::Whole { stamp, fingerprint } => {
                tracing::info!(file = id.0, %fingerprint, bytes = stamp.size, "promised");
                FileRecord { path, stamp, state: FileState::Pending { fingerprint } }
            }
            Found::Unreadable { stamp, error } => {
                tracing::warn!(file = id.0, %error, "cannot be read");
                if is_transient(&error) {
                    afterwards = Afterwards::Failing(now + read_retry(glance.failures));
                }
                FileRecord { path, stamp, state: FileState::Failed { fingerprint: None, why: unreadable(&error) } }
            }
            Found::NotDurable { stamp, fingerprint, error } => {
                tracing::warn!(file = id.0, %error, "could not be made durable");
                let fingerprint = Some(fingerprint);
                FileRecord { path, stamp, state: FileState::Failed { fingerprint, why: not_durable(&error) } }
            }
        };
        entries.notes.push((glance, afterwards));
        if !says_as_much(known.as_ref(), &record) {
            entries.records.push((id, record));
        }
        Ok(())
    }

    fn settle(&self, notes: Vec<(Glance, Afterwards)>) {
        self.desk.settle(|all| {
            for (glance, afterwards) in notes {
                match afterwards {
                    Afterwards::Settled => all.settle(&glance),
                    Afterwards::Again(at) => all.put_back(&glance, at),
                    Afterwards::Failing(at) => all.fail(&glance, at),
                }
            }
        });
    }
}

/// How many of these, ascending by size, make a batch.
fn batch_length(looks: &[Look]) -> usize {
    let mut bytes = 0_u64;
    let fitting = looks.iter().take_while(|look| {
        bytes = bytes.saturating_add(look.stamp.size);
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1).min(looks.len())
}

fn goes_on(desk: &Desk, glance: &Glance) -> bool {
    !desk.is_over() && desk.state().notes.name_now(glance).is_some()
}

/// Whether the journal need not be told: a photo that was only opened, or written again with the same bytes and time.
fn says_as_much(known: Option<&FileRecord>, found: &FileRecord) -> bool {
    let Some(known) = known else { return false };
    let same_state = match (&known.state, &found.state) {
        (FileState::BackedUp { fingerprint: old }, FileState::Pending { fingerprint }) => old == fingerprint,
        (old, new) => old == new,
    };
    same_state && known.path == found.path && known.stamp == found.stamp
}

fn read_retry(failures: u32) -> Duration {
    READ_RETRY_FIRST.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(READ_RETRY_MAX)
}

/// Whether reading may go better later without anybody changing the file. Rights and kinds stay as they are until then.
fn is_transient(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

fn unreadable(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

fn not_durable(error: &io::Error) -> String {
    format!("this disk failed to store it ({error}): copy it here again")
}
