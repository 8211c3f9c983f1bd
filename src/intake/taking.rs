//! *Taking in*: a worker takes files that came to rest, looks at them, makes them durable, and writes the promises.
//!
//! Several at a time, because the flushes that make a promise true cost the same for one file as for many.

use std::io;
use std::time::{Duration, Instant};

use heirloom_protocol::{Fingerprint, LibraryPath};

use super::desk::Desk;
use super::inside::Inside;
use super::look::{Found, Look};
use super::notes::{Glance, QUIET};
use crate::journal::{FileId, FileRecord, FileState, JournalError, Stamp};

/// So many files are taken in together, each with an open descriptor.
const BATCH_FILES: usize = 64;

/// So many bytes are taken in together (or one file that is larger): small photos do not wait long for large neighbours.
const BATCH_BYTES: u64 = 64 << 20;

/// After the journal could not be written, it is tried again so much later.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// After a file could not be read, it is tried again so much later, then twice that, and so on.
const READ_RETRY_FIRST: Duration = Duration::from_secs(1);
/// But at least so often: somebody may have plugged the disk in again.
const READ_RETRY_MAX: Duration = Duration::from_mins(5);

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
            match Look::begin(&self.spool, &self.marker, self.accept, glance) {
                Ok(look) => looks.push(look),
                Err(judged) => found.push(judged),
            }
        }
        looks.sort_by_key(|look| look.stamp.size);
        let too_many = looks.split_off(batch_length(&looks));
        found.extend(too_many.into_iter().map(|look| (look.glance, Found::Interrupted)));
        looks.iter().for_each(Look::begin_writeback);
        let read: Vec<_> = looks
            .into_iter()
            .map(|look| (look.fingerprint(buffer, || goes_on(&self.desk, &look.glance)), look))
            .collect();
        let mut synced: Vec<_> = read
            .into_iter()
            .map(|(read, look)| (read.map_or_else(|found| found, |fingerprint| look.sync(fingerprint)), look))
            .collect();
        self.make_names_durable(&mut synced);
        found.extend(synced.into_iter().map(|(found, look)| self.unmark(found, look)));
        found
    }

    fn make_names_durable(&self, synced: &mut [(Found, Look)]) {
        let whole = synced.iter().filter(|(found, _)| matches!(found, Found::Whole { .. }));
        let folders: Vec<_> = whole.map(|(_, look)| look.glance.path.parent()).collect();
        let failed = self.folders.make_durable(&self.spool, folders.iter().map(Option::as_ref));
        for (found, look) in synced {
            if let (Some(error), Found::Whole { stamp, fingerprint }) =
                (failed.get(&look.glance.path.parent()), &*found)
            {
                *found = match error.kind() {
                    // The folder has another name now; so does the file.
                    io::ErrorKind::NotFound => Found::Interrupted,
                    kind => Found::NotDurable { stamp: *stamp, fingerprint: *fingerprint, error: kind.into() },
                };
            }
        }
    }

    /// Bytes and name are on the disk: the mark that doubts it goes. If it cannot, the next start doubts a sound file, which costs
    /// its owner a copy if the journal is lost as well, and no photo.
    fn unmark(&self, found: Found, look: Look) -> (Glance, Found) {
        if let Found::Whole { .. } = found
            && let Some(Err(error)) = self.desk.seal(&look.glance, || look.unmark(&self.marker))
        {
            tracing::warn!(file = look.glance.id.0, %error, "the mark of an unfinished file could not be taken off");
        }
        (look.glance, found)
    }

    /// Writes what was found, for as far as it is still true.
    pub(super) fn enter(&self, found: Vec<(Glance, Found)>) {
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
        let promised: Vec<_> = entries.records.iter().filter_map(promise).collect();
        if !entries.records.is_empty() {
            self.journal.record(entries.records)?;
        }
        if !entries.gone.is_empty() {
            self.journal.forget(entries.gone)?;
        }
        for (id, fingerprint, bytes) in &promised {
            tracing::info!(file = id.0, %fingerprint, bytes, "promised");
        }
        if !promised.is_empty() {
            self.neighbours.promised();
        }
        Ok(entries.notes)
    }

    /// Decides what one look means.
    fn weigh(&self, entries: &mut Entries, glance: Glance, found: Found) -> Result<(), JournalError> {
        let (now, id) = (Instant::now(), glance.id);
        // Changed or removed since: another look is due, or none.
        let Some((path, was_renamed)) = self.where_it_is(&glance) else { return Ok(()) };
        let known = self.known(id)?;
        let afterwards = match &found {
            Found::Interrupted => Afterwards::Again(now),
            Found::Changed => Afterwards::Again(now + QUIET),
            // It is looked for under its new name.
            Found::Gone if was_renamed => Afterwards::Again(now),
            Found::Unreadable { error, .. } if is_transient(error) => {
                Afterwards::Failing(now + read_retry(glance.failures))
            }
            Found::Gone
            | Found::Unreadable { .. }
            | Found::Left { .. }
            | Found::Whole { .. }
            | Found::Torn { .. }
            | Found::NotDurable { .. } => Afterwards::Settled,
        };
        if let (Found::Gone, Afterwards::Settled) = (&found, &afterwards) {
            // Unless the journal knows it under another name: then it is there.
            entries.gone.extend(known.as_ref().filter(|it| it.path == path).map(|_| id));
        }
        if let Some((stamp, state)) = state_of(id, found) {
            let record = FileRecord { path, stamp, state };
            if !says_as_much(known.as_ref(), &record) {
                entries.records.push((id, record));
            }
        }
        entries.notes.push((glance, afterwards));
        Ok(())
    }

    fn where_it_is(&self, glance: &Glance) -> Option<(LibraryPath, bool)> {
        let state = self.desk.state();
        state.notes.name_now(glance).map(|path| (path.clone(), state.notes.was_renamed(glance)))
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

/// What the journal is to say of a file after a look, if the look came to an end.
fn state_of(id: FileId, found: Found) -> Option<(Stamp, FileState)> {
    Some(match found {
        Found::Interrupted | Found::Changed | Found::Gone => return None,
        Found::Left { stamp, left } => (stamp, FileState::Local { why: left.to_string() }),
        Found::Whole { stamp, fingerprint } => (stamp, FileState::Pending { fingerprint }),
        Found::Torn { stamp, soundness } => {
            tracing::warn!(file = id.0, %soundness, "not backed up");
            (stamp, FileState::Failed { fingerprint: None, why: soundness.to_string() })
        }
        Found::Unreadable { stamp, error } => {
            tracing::warn!(file = id.0, %error, "cannot be read");
            (stamp, FileState::Failed { fingerprint: None, why: format!("it cannot be read: {error}") })
        }
        Found::NotDurable { stamp, fingerprint, error } => {
            tracing::warn!(file = id.0, %error, "could not be made durable");
            let why = format!("this disk failed to store it ({error}): copy it here again");
            (stamp, FileState::Failed { fingerprint: Some(fingerprint), why })
        }
    })
}

/// What a record promises, if it does.
fn promise((id, record): &(FileId, FileRecord)) -> Option<(FileId, Fingerprint, u64)> {
    match record.state {
        FileState::Pending { fingerprint } => Some((*id, fingerprint, record.stamp.size)),
        FileState::BackedUp { .. } | FileState::Local { .. } | FileState::Failed { .. } => None,
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
