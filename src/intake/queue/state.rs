//! The state that the queue's lock protects: which files wait, which are due, and whether the
//! intake is stopping.
//!
//! Memory and arithmetic only: the caller holds the lock and passes the current time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::NameEvent;
use super::pending::{Admission, DueFile, NextStep, PendingFiles};
use crate::intake::name::skip_reason_for_name;
use crate::journal::FileId;

/// The comparison of tree and journal fills at most this fraction (1/n) of the queue: the rest is
/// for what the mount reports.
const RECONCILE_SHARE: usize = 4;

/// Name events that may wait to be applied, some 10 MB of them. They are applied hundreds at a
/// time, so that a thread of the mount that meets a full queue waits for milliseconds.
const EVENTS_MAX: usize = 32_768;

/// Due files wait until nothing more was reported for this long: a program that copies a folder
/// needs disk and processor for that.
const CALM: Duration = Duration::from_millis(100);

/// But a due file waits no longer than this, however long the copying goes on: a closed file is
/// queued for upload within about a second.
const HOLD_BACK_MAX: Duration = Duration::from_secs(1);

/// State of the comparison of tree and journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::intake) enum ReconcileState {
    /// Needed, because the intake just started.
    Initial,
    /// Needed, because queue entries were dropped, or a file was not where its entry said.
    Needed,
    /// Running.
    Running,
    /// Finished; nothing happened since that needs another.
    Done,
}

/// Whether the work is to end, and how.
#[derive(Clone, Copy, Debug)]
enum Shutdown {
    NotRequested,
    /// Once everything due is scanned, or at this time.
    DrainUntil(Instant),
    Now,
}

/// What a worker that asks for files is to do.
#[derive(Debug)]
pub(super) enum NextDue {
    /// Scan these.
    Files(Vec<DueFile>),
    /// Wait until this time, or until something is reported.
    At(Instant),
    /// Wait until something is reported.
    Nothing,
    /// End.
    Shutdown,
}

/// Everything that waits to be dealt with.
#[derive(Debug)]
pub(in crate::intake) struct QueueState {
    pub(in crate::intake) pending: PendingFiles,
    events: VecDeque<NameEvent>,
    /// Number of events that were taken and are being applied.
    applying: usize,
    /// Files whose write state is being changed at this moment.
    pub(super) changing_write_state: Vec<FileId>,
    reconcile: ReconcileState,
    shutdown: Shutdown,
    last_change: Instant,
}

impl QueueState {
    pub(super) fn new(pending_max: usize, now: Instant) -> Self {
        Self {
            pending: PendingFiles::new(pending_max),
            events: VecDeque::new(),
            applying: 0,
            changing_write_state: Vec::new(),
            reconcile: ReconcileState::Initial,
            shutdown: Shutdown::NotRequested,
            last_change: now,
        }
    }

    /// Enters a change of a file. Returns whether entries had to be dropped for it; then the tree
    /// has to be compared with the journal.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        change: impl FnOnce(&mut PendingFiles, Instant) -> Admission,
    ) -> Admission {
        self.last_change = now;
        let admission = change(&mut self.pending, now);
        if admission == Admission::Overflowed {
            self.reconcile = ReconcileState::Needed;
            tracing::info!(
                "too many files changed at once; comparing the tree with the journal later"
            );
        }
        admission
    }

    /// Takes up to `most` due files, unless more is being reported right now.
    pub(super) fn next_due(&mut self, now: Instant, most: usize) -> NextDue {
        if self.is_over(now) {
            return NextDue::Shutdown;
        }
        let held_back = self.held_back_until(now);
        if held_back.is_none() {
            let due = self.pending.take_due(now, most);
            if !due.is_empty() {
                return NextDue::Files(due);
            }
        }
        if self.is_shutting_down() {
            return NextDue::Shutdown;
        }
        held_back
            .or_else(|| self.pending.next_due())
            .map_or(NextDue::Nothing, NextDue::At)
    }

    /// Applies the results of a batch. A file that was not where its entry said, without a reported
    /// rename, needs the tree to be compared: not before its entry is removed, for the comparison
    /// passes over files that have one.
    pub(super) fn finish(&mut self, steps: Vec<(DueFile, NextStep)>) {
        for (due, step) in steps {
            self.pending.finish(&due, step);
            if step == NextStep::Lost {
                self.reconcile = ReconcileState::Needed;
            }
        }
    }

    /// Whether no further name event fits.
    pub(super) fn is_full_of_events(&self) -> bool {
        self.events.len() >= EVENTS_MAX
    }

    /// Adds a name event. If it does not fit, it is dropped and the tree is compared with the
    /// journal, which finds renames but leaves the library's names alone.
    pub(super) fn push_event(&mut self, event: NameEvent) {
        if self.is_full_of_events() {
            self.reconcile = ReconcileState::Needed;
            tracing::warn!(
                "too many renames while the journal cannot be written; the server may keep old ones"
            );
        } else {
            self.events.push_back(event);
        }
    }

    /// Takes the oldest name events; [`Self::events_applied`] or [`Self::return_events`] must
    /// follow.
    pub(super) fn take_events(&mut self, most: usize) -> Vec<NameEvent> {
        let most = most.min(self.events.len());
        self.applying = most;
        self.events.drain(..most).collect()
    }

    pub(super) fn events_applied(&mut self) {
        self.applying = 0;
    }

    pub(super) fn return_events(&mut self, events: Vec<NameEvent>) {
        self.applying = 0;
        for event in events.into_iter().rev() {
            self.events.push_front(event);
        }
    }

    /// The name events that wait to be applied.
    pub(in crate::intake) fn events(&self) -> impl Iterator<Item = &NameEvent> {
        self.events.iter()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn needs_reconcile(&self) -> bool {
        matches!(
            self.reconcile,
            ReconcileState::Initial | ReconcileState::Needed
        )
    }

    pub(super) fn is_reconciled(&self) -> bool {
        self.reconcile == ReconcileState::Done
    }

    pub(super) fn begin_reconcile(&mut self) {
        self.reconcile = ReconcileState::Running;
    }

    /// Ends a comparison, unless another one became necessary meanwhile.
    pub(super) fn end_reconcile(&mut self, state: ReconcileState) {
        if self.reconcile == ReconcileState::Running {
            self.reconcile = state;
        }
    }

    /// Whether the comparison of tree and journal may add another entry.
    pub(super) fn has_capacity_for_reconcile(&self) -> bool {
        self.pending.len() < self.pending.limit() / RECONCILE_SHARE
            && self.events.len() < EVENTS_MAX / RECONCILE_SHARE
    }

    /// Whether anything reported was not dealt with yet. Files that are skipped
    /// for their name do not count.
    pub(super) fn is_busy(&self) -> bool {
        self.reconcile == ReconcileState::Needed
            || !self.events.is_empty()
            || self.applying > 0
            || self
                .pending
                .unscanned()
                .any(|(_, path)| skip_reason_for_name(path).is_none())
    }

    /// Asks the work to end: at `until` at the latest, earlier if nothing is due any more.
    pub(super) fn drain_until(&mut self, until: Instant, now: Instant) {
        self.pending.make_closed_files_due(now);
        if let Shutdown::NotRequested = self.shutdown {
            self.shutdown = Shutdown::DrainUntil(until);
        }
    }

    pub(super) fn shut_down_now(&mut self) {
        self.shutdown = Shutdown::Now;
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        !matches!(self.shutdown, Shutdown::NotRequested)
    }

    /// Whether work must stop, whatever is left.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        match self.shutdown {
            Shutdown::NotRequested => false,
            Shutdown::DrainUntil(until) => now >= until,
            Shutdown::Now => true,
        }
    }

    /// Until when due files are held back, because more is being reported.
    fn held_back_until(&self, now: Instant) -> Option<Instant> {
        let first = self
            .pending
            .next_due()
            .filter(|first| *first <= now && !self.is_shutting_down())?;
        Some((self.last_change + CALM).min(first + HOLD_BACK_MAX)).filter(|until| *until > now)
    }
}
