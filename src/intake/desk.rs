//! *The desk*: what was told and not yet dealt with, under one short lock, and the bells that wake
//! whoever deals with it.
//!
//! The mount's threads only ever come here. Nobody holds the lock while touching a disk, and every
//! wait is on an event with the next deadline as its limit.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use heirloom_protocol::LibraryPath;
use tokio::sync::watch;

use super::name::left_alone;
use super::notes::{Glance, Notes, Noting};
use crate::journal::FileId;

mod vouching;
mod waiting;

/// The comparison of tree and journal adds no notes beyond this part of the room: the rest is the
/// mount's.
const PART_FOR_COMPARISON: usize = 4;

/// So many changes of names may wait to be followed, some 10 MB of them. They are followed
/// thousands at a time, so that a teller who meets a full desk waits for milliseconds.
const TELLINGS_MAX: usize = 32_768;

/// A teller waits no longer than this on a full desk, lest a journal that cannot be written hang
/// the mount. What does not fit then is dropped and the tree is compared with the journal, which
/// finds renames but leaves the library's names alone.
const FULL_DESK_WAIT_MAX: Duration = Duration::from_secs(2);

/// A change of names. They are followed in the order told, because each is only true after the one
/// before.
#[derive(Clone, Debug)]
pub(super) enum Telling {
    RenamedFile {
        id: FileId,
        from: LibraryPath,
        to: LibraryPath,
        replaced: Option<FileId>,
    },
    RenamedFolder {
        from: LibraryPath,
        to: LibraryPath,
    },
    Exchanged {
        one: LibraryPath,
        other: LibraryPath,
    },
    Removed {
        id: FileId,
        path: LibraryPath,
    },
    /// The comparison found it under a name that the journal does not know.
    Found {
        id: FileId,
        path: LibraryPath,
    },
}

/// Work on what came to rest waits until nothing more was told for so long: whoever copies a folder
/// needs disk and processor for that.
const CALM: Duration = Duration::from_millis(100);

/// But a file that came to rest waits no longer than this, however long the copying goes on: a
/// promise is made within about a second.
const HELD_BACK_MAX: Duration = Duration::from_secs(1);

/// How the comparison of tree and journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// To be made, because we just started.
    First,
    /// To be made, because notes were dropped, or led nowhere.
    Again,
    /// Being made.
    Running,
    Done,
}

/// Whether the notes that were just looked after led to their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trail {
    Found,
    Lost,
}

/// Whether, and how, the work ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    NotYet,
    /// After what is due was taken in, or at this time.
    Takes {
        until: Instant,
    },
    Now,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) notes: Notes,
    pub(super) tellings: VecDeque<Telling>,
    /// So many were taken from the desk and are being followed.
    following: usize,
    /// Files whose marks are being taken off this moment.
    sealing: Vec<FileId>,
    comparison: Comparison,
    ending: Ending,
    last_note: Instant,
}

#[derive(Debug)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// Rings for workers: something may be due earlier than they thought.
    due: Condvar,
    /// Rings for the follower of names.
    told: Condvar,
    /// Rings for those who wait until there is less on the desk.
    room: Condvar,
    /// Rings when a mark was taken off.
    sealed: Condvar,
    changes: watch::Sender<u64>,
}

impl Desk {
    pub(super) fn new(notes_max: usize) -> Self {
        let state = State {
            notes: Notes::new(notes_max),
            tellings: VecDeque::new(),
            following: 0,
            sealing: Vec::new(),
            comparison: Comparison::First,
            ending: Ending::NotYet,
            last_note: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            due: Condvar::new(),
            told: Condvar::new(),
            room: Condvar::new(),
            sealed: Condvar::new(),
            changes: watch::Sender::new(0),
        }
    }

    /// Every function under this lock leaves the state whole at each step, so one that panicked
    /// left nothing half done.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells all who wait for any change.
    pub(super) fn ring(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Writes a note about content.
    pub(super) fn note(&self, note: impl FnOnce(&mut Notes, Instant) -> Noting) {
        self.write_note(&mut self.state(), note);
        self.ring();
    }

    /// Writes the note that somebody opens a file to write. The mark that the mount sets next must
    /// not meet one of ours that is just being taken off: then, and only then, this waits for that
    /// single system call.
    pub(super) fn note_opening(&self, id: FileId, path: &LibraryPath) {
        let sealing = |state: &mut State| state.sealing.contains(&id);
        let mut state = self
            .sealed
            .wait_while(self.state(), sealing)
            .unwrap_or_else(PoisonError::into_inner);
        self.write_note(&mut state, |notes, _| notes.open(id, path));
        drop(state);
        self.ring();
    }

    /// Takes a file's mark off by `unmark`, unless something happened to the file since this
    /// glance.
    pub(super) fn seal<T>(&self, glance: &Glance, unmark: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.state();
        state.notes.name_now(glance)?;
        state.sealing.push(glance.id);
        drop(state);
        let outcome = unmark();
        self.state().sealing.retain(|id| *id != glance.id);
        self.sealed.notify_all();
        Some(outcome)
    }

    fn write_note(&self, state: &mut State, note: impl FnOnce(&mut Notes, Instant) -> Noting) {
        let (before, now) = (state.notes.next_due(), Instant::now());
        state.last_note = now;
        match note(&mut state.notes, now) {
            Noting::Noted => {}
            Noting::Overflowed => {
                state.comparison = Comparison::Again;
                tracing::info!(
                    "too many files changed at once: the tree is compared with the journal when it is calmer"
                );
                self.room.notify_all();
            }
        }
        self.wake_for_earlier(state, before);
    }

    /// Puts a change of names on the desk; `note` says what it does to the notes, at once.
    pub(super) fn tell(&self, telling: Telling, note: impl FnOnce(&mut Notes, Instant) -> Noting) {
        let mut state = self.state();
        self.write_note(&mut state, note);
        let full = |state: &mut State| state.tellings.len() >= TELLINGS_MAX && !state.is_ending();
        let (mut state, _) = self
            .room
            .wait_timeout_while(state, FULL_DESK_WAIT_MAX, full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.tellings.len() < TELLINGS_MAX {
            state.tellings.push_back(telling);
        } else {
            state.comparison = Comparison::Again;
            tracing::warn!(
                "too many names changed while the journal could not be written: the server may keep old names"
            );
        }
        self.told.notify_one();
        drop(state);
        self.ring();
    }

    /// A worker sleeps until the deadline that was next when it looked; only an earlier one must
    /// wake it.
    fn wake_for_earlier(&self, state: &State, before: Option<Instant>) {
        if let Some(next) = state.notes.next_due()
            && before.is_none_or(|before| next < before)
        {
            self.due.notify_one();
        }
    }

    /// Gives notes back or strikes them off. Where a file was not where its note said, and nobody
    /// told why, the comparison finds it, wherever it is: not before the note is struck off, for it
    /// passes over what is noted.
    pub(super) fn settle(&self, settle: impl FnOnce(&mut Notes) -> Trail) {
        let mut state = self.state();
        let before = state.notes.next_due();
        if settle(&mut state.notes) == Trail::Lost {
            state.comparison = Comparison::Again;
        }
        self.wake_for_earlier(&state, before);
        self.room.notify_all();
        drop(state);
        self.ring();
    }

    /// Takes the oldest tellings; [`Self::followed`] or [`Self::give_back`] must come after. Only
    /// for the holder of the ledger.
    pub(super) fn take_tellings(&self, most: usize) -> Vec<Telling> {
        let mut state = self.state();
        let most = most.min(state.tellings.len());
        state.following = most;
        state.tellings.drain(..most).collect()
    }

    pub(super) fn followed(&self) {
        self.state().following = 0;
        self.room.notify_all();
        self.ring();
    }

    pub(super) fn give_back(&self, tellings: Vec<Telling>) {
        let mut state = self.state();
        state.following = 0;
        for telling in tellings.into_iter().rev() {
            state.tellings.push_front(telling);
        }
    }

    /// The comparison is made; or, if notes were dropped meanwhile, has to be made again.
    pub(super) fn end_comparison(&self, outcome: Comparison) {
        let mut state = self.state();
        if state.comparison == Comparison::Running {
            state.comparison = outcome;
        }
        drop(state);
        self.ring();
    }

    pub(super) fn compared(&self) -> bool {
        self.state().comparison == Comparison::Done
    }

    /// Whether anything told was not dealt with yet. Names that are left alone anyway keep nobody
    /// waiting.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.comparison == Comparison::Again
            || !state.tellings.is_empty()
            || state.following > 0
            || state
                .notes
                .awaiting()
                .any(|(_, path)| left_alone(path).is_none())
    }
}

impl State {
    fn has_room_for_comparison(&self) -> bool {
        self.notes.len() < self.notes.limit() / PART_FOR_COMPARISON
            && self.tellings.len() < TELLINGS_MAX / PART_FOR_COMPARISON
    }

    /// Until when what is due is held back, because more is being told.
    fn held_back_until(&self, now: Instant) -> Option<Instant> {
        let first = self
            .notes
            .next_due()
            .filter(|first| *first <= now && !self.is_ending())?;
        Some((self.last_note + CALM).min(first + HELD_BACK_MAX)).filter(|until| *until > now)
    }

    fn is_ending(&self) -> bool {
        !matches!(self.ending, Ending::NotYet)
    }

    fn is_over(&self, now: Instant) -> bool {
        match self.ending {
            Ending::NotYet => false,
            Ending::Takes { until } => now >= until,
            Ending::Now => true,
        }
    }
}
