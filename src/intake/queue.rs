//! The queue of changed files and name events, under one short lock, and the condition variables
//! that wake the threads which deal with them.
//!
//! The mount's threads only ever come here. Nobody holds the lock while touching a disk, and every
//! wait is on an event with the next deadline as its limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heirloom_protocol::LibraryPath;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::clock::Clock;
use crate::journal::FileId;

mod state;
mod pending;
mod event;

pub(super) use event::NameEvent;
pub(super) use pending::{
    Admission, CurrentName, DueFile, FileOrigin, NextStep, PENDING_MAX, PendingFiles, QUIET,
    rebased,
};
pub(super) use state::{QueueState, ReconcileState};

use state::NextDue;

/// Longest time a thread of the mount waits for capacity in a queue full of name events, lest a
/// journal that cannot be written hang the mount.
const PUSH_WAIT_MAX: Duration = Duration::from_secs(2);

/// The queue between the mount's threads, which report changes, and the intake's, which deal with
/// them.
#[derive(Debug)]
pub(super) struct IngestQueue {
    state: Mutex<QueueState>,
    clock: Arc<dyn Clock>,
    /// Wakes workers: a file may be due earlier than they thought.
    files_due: Condvar,
    /// Wakes the thread that applies name events.
    event_pushed: Condvar,
    /// Wakes threads that wait for capacity.
    capacity_freed: Condvar,
    /// Wakes threads that wait until a write state is changed.
    write_state_changed: Condvar,
    changes: watch::Sender<u64>,
}

impl IngestQueue {
    /// An empty queue of at most `pending_max` files.
    pub(super) fn new(clock: Arc<dyn Clock>, pending_max: usize) -> Self {
        Self {
            state: Mutex::new(QueueState::new(pending_max, clock.now())),
            clock,
            files_due: Condvar::new(),
            event_pushed: Condvar::new(),
            capacity_freed: Condvar::new(),
            write_state_changed: Condvar::new(),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }

    /// Changes whenever the state of the queue may have changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Enters a change of a file's content.
    pub(super) fn admit(&self, change: impl FnOnce(&mut PendingFiles, Instant) -> Admission) {
        self.admit_locked(&mut self.state(), change);
        self.notify_subscribers();
    }

    /// Enters that somebody opens a file for writing. The write state that the mount sets next must
    /// not meet a change of ours to it: then, and only then, this waits for that single system
    /// call.
    pub(super) fn admit_opening(&self, id: FileId, path: &LibraryPath) {
        let mut state = self.state();
        self.write_state_changed
            .wait_while(&mut state, |state| state.changing_write_state.contains(&id));
        self.admit_locked(&mut state, |pending, _| pending.opened(id, path));
        drop(state);
        self.notify_subscribers();
    }

    /// Runs `change`, which clears a file's write state, unless something happened to the file
    /// since it was taken; then `None`.
    pub(super) fn change_unless_modified<T>(
        &self,
        due: &DueFile,
        change: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut state = self.state();
        state.pending.current_name(due)?;
        state.changing_write_state.push(due.id);
        drop(state);
        let outcome = change();
        self.state().changing_write_state.retain(|id| *id != due.id);
        self.write_state_changed.notify_all();
        Some(outcome)
    }

    /// Runs `change`, which marks a file as finished for its owner, and enters that it is to be
    /// scanned; `None` if somebody has it open for writing. A program that opens it meanwhile waits
    /// for that single system call, so that the write state of an open file is never taken for
    /// ours.
    pub(super) fn force_accept<T>(
        &self,
        id: FileId,
        path: &LibraryPath,
        change: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut state = self.state();
        if state.pending.is_open(id) {
            return None;
        }
        state.changing_write_state.push(id);
        drop(state);
        let outcome = change();
        let mut state = self.state();
        state
            .changing_write_state
            .retain(|changing| *changing != id);
        self.admit_locked(&mut state, |pending, now| {
            pending.force_accepted(id, path, now)
        });
        drop(state);
        self.write_state_changed.notify_all();
        self.notify_subscribers();
        Some(outcome)
    }

    /// Adds a name event; `change` is what it does to the pending files, at once.
    pub(super) fn push_event(
        &self,
        event: NameEvent,
        change: impl FnOnce(&mut PendingFiles, Instant) -> Admission,
    ) {
        let mut state = self.state();
        self.admit_locked(&mut state, change);
        self.capacity_freed.wait_while_for(
            &mut state,
            |state| state.is_full_of_events() && !state.is_shutting_down(),
            PUSH_WAIT_MAX,
        );
        state.push_event(event);
        self.event_pushed.notify_one();
        drop(state);
        self.notify_subscribers();
    }

    /// Waits until files are due, and takes up to `most`. `None` when the work ends.
    pub(super) fn take_due(&self, most: usize) -> Option<Vec<DueFile>> {
        let mut state = self.state();
        loop {
            match state.next_due(self.clock.now(), most) {
                NextDue::Files(due) => {
                    // Another worker may be asleep until a deadline that is now this one's work.
                    self.files_due.notify_one();
                    return Some(due);
                }
                NextDue::At(time) => {
                    let limit = time.saturating_duration_since(self.clock.now());
                    self.files_due.wait_for(&mut state, limit);
                }
                NextDue::Nothing => self.files_due.wait(&mut state),
                NextDue::Shutdown => return None,
            }
        }
    }

    /// Applies the results of a batch of files that were taken.
    pub(super) fn finish(&self, steps: Vec<(DueFile, NextStep)>) {
        let mut state = self.state();
        let before = state.pending.next_due();
        state.finish(steps);
        self.wake_worker_if_earlier(&state, before);
        self.capacity_freed.notify_all();
        drop(state);
        self.notify_subscribers();
    }

    /// A file's name now; `None` if it changed, or was removed, since it was taken.
    pub(super) fn current_name(&self, due: &DueFile) -> Option<CurrentName> {
        self.state().pending.current_name(due)
    }

    /// Waits until there are name events. `false` when the work ends and there are none.
    pub(super) fn wait_for_events(&self) -> bool {
        let mut state = self.state();
        self.event_pushed.wait_while(&mut state, |state| {
            !state.has_events() && !state.is_shutting_down()
        });
        state.has_events() && !state.is_over(self.clock.now())
    }

    /// Takes the oldest name events; [`Self::events_applied`] or [`Self::return_events`] must
    /// follow. Only for the holder of the right to write to the journal.
    pub(super) fn take_events(&self, most: usize) -> Vec<NameEvent> {
        self.state().take_events(most)
    }

    /// The events taken are in the journal.
    pub(super) fn events_applied(&self) {
        self.state().events_applied();
        self.capacity_freed.notify_all();
        self.notify_subscribers();
    }

    /// The events taken could not be applied, and go back to the front.
    pub(super) fn return_events(&self, events: Vec<NameEvent>) {
        self.state().return_events(events);
    }

    /// Waits until the tree is to be compared with the journal and there is capacity for what the
    /// comparison will find. `false` when the work ends.
    pub(super) fn begin_reconcile(&self) -> bool {
        let mut state = self.state();
        self.capacity_freed.wait_while(&mut state, |state| {
            let can_begin = state.needs_reconcile() && state.has_capacity_for_reconcile();
            !can_begin && !state.is_shutting_down()
        });
        if state.is_shutting_down() {
            return false;
        }
        state.begin_reconcile();
        true
    }

    /// Waits until the comparison may add another entry. `false` when the work ends.
    pub(super) fn wait_for_capacity(&self) -> bool {
        let mut state = self.state();
        self.capacity_freed.wait_while(&mut state, |state| {
            !state.has_capacity_for_reconcile() && !state.is_shutting_down()
        });
        !state.is_shutting_down()
    }

    /// Ends a comparison of tree and journal.
    pub(super) fn end_reconcile(&self, outcome: ReconcileState) {
        self.state().end_reconcile(outcome);
        self.notify_subscribers();
    }

    /// Whether tree and journal are compared.
    pub(super) fn is_reconciled(&self) -> bool {
        self.state().is_reconciled()
    }

    /// Whether anything reported was not dealt with yet.
    pub(super) fn is_busy(&self) -> bool {
        self.state().is_busy()
    }

    /// Waits for this long, or until the work ends.
    pub(super) fn pause(&self, time: Duration) {
        self.capacity_freed.wait_while_for(
            &mut self.state(),
            |state| !state.is_shutting_down(),
            time,
        );
    }

    /// Ends the work: at `until` at the latest, earlier if nothing is due any more.
    pub(super) fn drain_until(&self, until: Instant) {
        self.state().drain_until(until, self.clock.now());
        self.wake_all();
    }

    /// Ends the work, whatever is left.
    pub(super) fn shut_down_now(&self) {
        self.state().shut_down_now();
        self.wake_all();
    }

    /// Whether work must stop at once.
    pub(super) fn is_over(&self) -> bool {
        self.state().is_over(self.clock.now())
    }

    /// Whether the work is ending.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.state().is_shutting_down()
    }

    fn admit_locked(
        &self,
        state: &mut QueueState,
        change: impl FnOnce(&mut PendingFiles, Instant) -> Admission,
    ) {
        let before = state.pending.next_due();
        match state.admit(self.clock.now(), change) {
            Admission::Accepted => {}
            Admission::Overflowed => {
                self.capacity_freed.notify_all();
            }
        }
        self.wake_worker_if_earlier(state, before);
    }

    /// A worker sleeps until the deadline that was next when it looked; only an earlier one must
    /// wake it.
    fn wake_worker_if_earlier(&self, state: &QueueState, before: Option<Instant>) {
        if let Some(next) = state.pending.next_due()
            && before.is_none_or(|before| next < before)
        {
            self.files_due.notify_one();
        }
    }

    fn wake_all(&self) {
        self.files_due.notify_all();
        self.event_pushed.notify_all();
        self.capacity_freed.notify_all();
    }

    fn notify_subscribers(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}
