//! *Taking in*: a worker takes files that came to rest, looks at them, makes them durable, and
//! writes the promises.
//!
//! Several at a time, because the flushes that make a promise true cost the same for one file as
//! for many.

use std::io;
use std::time::{Duration, Instant};

use heirloom_crash::CrashPoint;

use super::desk::{Desk, Trail};
use super::inside::Inside;
use super::look::{Found, Look};
use super::notes::Glance;
use super::weighing::{Afterwards, Entries};
use crate::journal::JournalError;

/// So many files are taken in together, each with an open descriptor.
const BATCH_FILES: usize = 64;

/// So many bytes are taken in together (or one file that is larger): small photos do not wait long
/// for large neighbours.
const BATCH_BYTES: u64 = 64 << 20;

/// After the journal could not be written, it is tried again so much later.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

impl Inside {
    /// A worker's life.
    pub(super) fn work(&self) {
        let mut buffer = Vec::new();
        while let Some(glances) = self.desk.take_due(BATCH_FILES) {
            let found = self.look_at(glances, &mut buffer);
            self.enter(found);
        }
    }

    pub(super) fn look_at(
        &self,
        glances: Vec<Glance>,
        buffer: &mut Vec<u8>,
    ) -> Vec<(Glance, Found)> {
        let (mut looks, mut found) = (Vec::new(), Vec::new());
        for glance in glances {
            match Look::open(&self.spool, glance) {
                Ok(look) => match look.judge(&self.marker, self.accept) {
                    None => looks.push(look),
                    Some(verdict) => found.push(self.unmark(verdict, look)),
                },
                Err(not_there) => found.push(not_there),
            }
        }
        looks.sort_by_key(|look| look.stamp.size);
        let too_many = looks.split_off(batch_length(&looks));
        found.extend(
            too_many
                .into_iter()
                .map(|look| (look.glance, Found::Interrupted)),
        );
        looks.iter().for_each(Look::begin_writeback);
        let read: Vec<_> = looks
            .into_iter()
            .map(|look| {
                (
                    look.fingerprint(buffer, || goes_on(&self.desk, &look.glance)),
                    look,
                )
            })
            .collect();
        let mut synced: Vec<_> = read
            .into_iter()
            .map(|(read, look)| {
                (
                    read.map_or_else(|found| found, |fingerprint| look.sync(fingerprint)),
                    look,
                )
            })
            .collect();
        if !synced.is_empty() {
            heirloom_crash::reached(CrashPoint::FileSynced);
        }
        self.make_names_durable(&mut synced);
        if !synced.is_empty() {
            heirloom_crash::reached(CrashPoint::FileNameSynced);
        }
        found.extend(
            synced
                .into_iter()
                .map(|(found, look)| self.unmark(found, look)),
        );
        found
    }

    fn make_names_durable(&self, synced: &mut [(Found, Look)]) {
        let whole = synced
            .iter()
            .filter(|(found, _)| matches!(found, Found::Whole { .. }));
        let folders: Vec<_> = whole.map(|(_, look)| look.glance.path.parent()).collect();
        let failed = self
            .folders
            .make_durable(&self.spool, folders.iter().map(Option::as_ref));
        for (found, look) in synced {
            if let (Some(error), Found::Whole { stamp, fingerprint }) =
                (failed.get(&look.glance.path.parent()), &*found)
            {
                *found = match error.kind() {
                    // The folder has another name now; so does the file.
                    io::ErrorKind::NotFound => Found::Interrupted,
                    // Of its kind and in its words, for each of the photos in that folder.
                    kind => Found::NotDurable {
                        stamp: *stamp,
                        fingerprint: *fingerprint,
                        error: io::Error::new(kind, error.to_string()),
                    },
                };
            }
        }
    }

    /// Bytes and name are on the disk, or are no concern of ours: the mark that doubts them goes.
    /// If it cannot, the next start doubts a sound file, which costs its owner a copy if the
    /// journal is lost as well, and no photo.
    fn unmark(&self, found: Found, look: Look) -> (Glance, Found) {
        if is_beyond_doubt(&found)
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
        let entered = self
            .catch_up(&mut ledger)
            .and_then(|()| self.write_down(found));
        match entered {
            Ok(notes) => self.settle(notes),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "promises could not be written; trying again"
                );
                let later = Instant::now() + JOURNAL_RETRY;
                self.settle(
                    glances
                        .into_iter()
                        .map(|glance| (glance, Afterwards::Again(later)))
                        .collect(),
                );
            }
        }
    }

    fn write_down(
        &self,
        found: Vec<(Glance, Found)>,
    ) -> Result<Vec<(Glance, Afterwards)>, JournalError> {
        let mut entries = Entries::default();
        for (glance, found) in found {
            self.weigh(&mut entries, glance, found)?;
        }
        let promised = entries.promises();
        // First: if we end between the two, the file is met with another time than the journal's
        // again.
        if !entries.retimed.is_empty() {
            self.journal.queue_names(entries.retimed)?;
            self.neighbours.names_changed();
        }
        if !promised.is_empty() {
            heirloom_crash::reached(CrashPoint::WriteStateCleared);
        }
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
            heirloom_crash::reached(CrashPoint::FileQueued);
            self.neighbours.promised();
        }
        Ok(entries.notes)
    }

    fn settle(&self, notes: Vec<(Glance, Afterwards)>) {
        self.desk.settle(|all| {
            let mut trail = Trail::Found;
            for (glance, afterwards) in notes {
                match afterwards {
                    Afterwards::Settled => all.settle(&glance),
                    Afterwards::Again(at) => all.put_back(&glance, at),
                    Afterwards::Failing(at) => all.fail(&glance, at),
                    Afterwards::Missing(at) => all.miss(&glance, at),
                    Afterwards::Lost => {
                        all.settle(&glance);
                        trail = Trail::Lost;
                    }
                }
            }
            trail
        });
    }
}

/// A file that is left for its name may get a photo's name yet, so its mark stays.
fn is_beyond_doubt(found: &Found) -> bool {
    match found {
        Found::Whole { .. } => true,
        Found::Left { left, .. } => !left.is_by_name(),
        Found::Gone
        | Found::Placeholder { .. }
        | Found::Torn { .. }
        | Found::Unreadable { .. }
        | Found::NotDurable { .. }
        | Found::Changed
        | Found::Interrupted => false,
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
