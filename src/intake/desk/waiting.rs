//! *Waiting* at the desk: where the room's threads sleep until there is something for them, and how
//! they learn that the work ends.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Comparison, Desk, Ending, State};
use crate::intake::notes::Glance;

impl Desk {
    /// Waits until files are due, and takes up to `most`. Nothing when the work ends.
    pub(in crate::intake) fn take_due(&self, most: usize) -> Option<Vec<Glance>> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if state.is_over(now) {
                return None;
            }
            let held_back = state.held_back_until(now);
            let due = if held_back.is_none() {
                state.notes.take_due(now, most)
            } else {
                Vec::new()
            };
            if !due.is_empty() {
                // Another worker may be asleep until a deadline that is now this one's work.
                self.due.notify_one();
                return Some(due);
            }
            state = match held_back.or_else(|| state.notes.next_due()) {
                _ if state.is_ending() => return None,
                Some(next) => {
                    let limit = next.saturating_duration_since(now);
                    self.due
                        .wait_timeout(state, limit)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.due.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits until there is something to follow. `false` when the work ends and there is not.
    pub(in crate::intake) fn wait_for_tellings(&self) -> bool {
        let idle = |state: &mut State| state.tellings.is_empty() && !state.is_ending();
        let state = self
            .told
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        !state.tellings.is_empty() && !state.is_over(Instant::now())
    }

    /// Waits until the tree is to be compared and there is room for what the comparison will find.
    /// `false` when the work ends.
    pub(in crate::intake) fn begin_comparison(&self) -> bool {
        let idle = |state: &mut State| {
            let wanted = matches!(state.comparison, Comparison::First | Comparison::Again);
            !(wanted && state.has_room_for_comparison() || state.is_ending())
        };
        let mut state = self
            .room
            .wait_while(self.state(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_ending() {
            return false;
        }
        state.comparison = Comparison::Running;
        true
    }

    /// Waits until the comparison may write one more note. `false` when the work ends.
    pub(in crate::intake) fn wait_for_room(&self) -> bool {
        let full = |state: &mut State| !state.has_room_for_comparison() && !state.is_ending();
        !self
            .room
            .wait_while(self.state(), full)
            .unwrap_or_else(PoisonError::into_inner)
            .is_ending()
    }

    /// Waits so long, or until the work ends.
    pub(in crate::intake) fn pause(&self, time: Duration) {
        let going_on = |state: &mut State| !state.is_ending();
        drop(
            self.room
                .wait_timeout_while(self.state(), time, going_on)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Ends the work: at `until` at the latest, earlier if nothing is due any more.
    pub(in crate::intake) fn end_by(&self, until: Instant) {
        let mut state = self.state();
        state.notes.hasten(Instant::now());
        if let Ending::NotYet = state.ending {
            state.ending = Ending::Takes { until };
        }
        self.wake_all();
    }

    /// Ends the work, whatever is left.
    pub(in crate::intake) fn end_now(&self) {
        self.state().ending = Ending::Now;
        self.wake_all();
    }

    /// Whether whoever works should stop at once.
    pub(in crate::intake) fn is_over(&self) -> bool {
        self.state().is_over(Instant::now())
    }

    pub(in crate::intake) fn is_ending(&self) -> bool {
        self.state().is_ending()
    }

    fn wake_all(&self) {
        self.due.notify_all();
        self.told.notify_all();
        self.room.notify_all();
    }
}
