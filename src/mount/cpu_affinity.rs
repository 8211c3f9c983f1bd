//! CPU affinity: the threads that answer the kernel run on the processor of the program that makes
//! the requests. Optional: the mount works the same without it.
//!
//! A program that copies many small files waits for each reply, so it and the mount take turns, and
//! a second processor makes nothing faster. It makes things slower: waking a thread on another
//! processor needs an interrupt, which in a virtual machine, where an idle processor is halted,
//! takes longer than all the work for the reply. Linux leaves both threads where they last ran. So
//! while requests are frequent, the caller's processor is checked at every few requests, and all
//! event threads are pinned to it.
//!
//! A program that moves after every reply, as happens where cores share a cache and idle ones are
//! woken quickly, and several programs on different processors, cannot be followed. Then, and when
//! requests are rare, the threads run wherever Linux puts them. Figures are in
//! docs/decisions/0021-cpu-affinity.md.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};

use super::types::RequestObserver;

#[cfg(test)]
mod tests;

/// The caller's processor is checked once in this many requests. A check takes 4 microseconds,
/// waking another processor 2 to 50.
const CHECK_EVERY: u32 = 4;

/// Requests with less time between them are frequent. For rarer ones a wake-up more or less does not
/// matter.
const FREQUENT: Duration = Duration::from_millis(10);

/// Checks after which the moves are counted anew.
const CHECKS_PER_ROUND: u32 = 64;

/// A caller that had moved at more than this many of `CHECKS_PER_ROUND` checks is not followed.
///
/// Linux moves a program that copies alone at one of twenty checks, to an idle processor; one whose
/// bytes pass through the daemon (the direct path), or two programs (rsync), at one of two. A
/// program that cannot be followed has moved at each.
const MOVES_MAX: u32 = 56;

/// Pause before a caller that could not be followed is followed again.
const PAUSE: Duration = Duration::from_millis(250);

/// Bytes read of `/proc/PID/stat`, which holds about fifty numbers and a name: more than it ever
/// has.
const STAT_BYTES_MAX: usize = 2048;

/// Position of the processor in `/proc/PID/stat`, counted from the field after the name
/// (`proc_pid_stat(5)`: field 39; the name is field 2).
const PROCESSOR_FIELD: usize = 39 - 3;

thread_local! {
    /// Whether this event thread is among those that are pinned.
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
}

/// Pins the threads that answer the kernel to the caller's processor.
#[derive(Debug, Default)]
pub(super) struct AffinityFollower {
    state: Mutex<FollowerState>,
}

#[derive(Debug, Default)]
struct FollowerState {
    threads: Vec<Pid>,
    policy: FollowPolicy,
    /// The processors that the threads may use when they are not pinned.
    unpinned: Option<CpuSet>,
    /// The last caller, and its open `/proc/PID/stat`.
    caller: Option<(u32, File)>,
}

impl RequestObserver for AffinityFollower {
    fn request_answered(&self, caller: u32) {
        if caller == 0 {
            return;
        }
        // If another event thread is here, it acts for all. None waits for it.
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        if let Err(error) = state.request_answered(caller) {
            // The program has just ended, or runs on a processor that this process may not use.
            tracing::trace!(%error, caller, "the caller's processor cannot be followed");
        }
    }
}

impl FollowerState {
    fn request_answered(&mut self, caller: u32) -> io::Result<()> {
        if !IS_KNOWN.replace(true) {
            self.threads.push(gettid());
            if let Some(processor) = self.policy.pinned_to {
                // The other threads are pinned there.
                sched_setaffinity(None, &only(processor))?;
            }
        }
        let now = Instant::now();
        match self.policy.on_request(now) {
            Step::Keep => Ok(()),
            Step::Unpin => self.unpin(),
            Step::Check => self.check(caller, now).or_else(|error| {
                self.policy.pause(now);
                self.unpin().and(Err(error))
            }),
        }
    }

    fn check(&mut self, caller: u32, now: Instant) -> io::Result<()> {
        let processor = self.processor_of(caller)?;
        let unpinned = match self.unpinned {
            Some(unpinned) => unpinned,
            None => sched_getaffinity(None)?,
        };
        if !unpinned.is_set(processor) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        match self.policy.on_check(processor, now) {
            Check::SameProcessor => Ok(()),
            Check::Moved => {
                self.unpinned = Some(unpinned);
                self.pin(&only(processor))
            }
            Check::TooManyMoves => self.unpin(),
        }
    }

    fn unpin(&mut self) -> io::Result<()> {
        match self.unpinned.take() {
            Some(unpinned) => self.pin(&unpinned),
            None => Ok(()),
        }
    }

    /// Pins all event threads. The calling one is last: it is running, so Linux has to migrate it.
    fn pin(&self, to: &CpuSet) -> io::Result<()> {
        let own = gettid();
        for thread in self.threads.iter().filter(|thread| **thread != own) {
            sched_setaffinity(Some(*thread), to)?;
        }
        Ok(sched_setaffinity(Some(own), to)?)
    }

    fn processor_of(&mut self, caller: u32) -> io::Result<usize> {
        let stat = match self.caller.take() {
            Some((known, stat)) if known == caller => stat,
            _ => File::open(format!("/proc/{caller}/task/{caller}/stat"))?,
        };
        let mut text = [0; STAT_BYTES_MAX];
        let length = stat.read_at(&mut text, 0)?;
        self.caller = Some((caller, stat));
        processor(&text[..length]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}

/// The processor that a thread last ran on. The thread's name may contain anything, also brackets:
/// it ends with the last one.
fn processor(stat: &[u8]) -> Option<usize> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let field = stat
        .get(name_end + 2..)?
        .split(|byte| *byte == b' ')
        .nth(PROCESSOR_FIELD)?;
    let processor = std::str::from_utf8(field).ok()?.parse().ok()?;
    (processor < CpuSet::MAX_CPU).then_some(processor)
}

/// Decides whether to follow the caller. Knows no threads and no system calls.
#[derive(Debug, Default)]
struct FollowPolicy {
    /// The processor that the threads are pinned to.
    pinned_to: Option<usize>,
    last_request: Option<Instant>,
    /// Requests since they became frequent.
    requests: u32,
    checks: u32,
    moves: u32,
    paused_until: Option<Instant>,
}

/// What to do after a request.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    /// Check the caller's processor.
    Check,
    /// Let the threads run anywhere again.
    Unpin,
}

/// Result of a check of the caller's processor.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    /// The threads are pinned to it.
    SameProcessor,
    /// The threads have to follow.
    Moved,
    /// The caller moves too often to be followed.
    TooManyMoves,
}

impl FollowPolicy {
    fn on_request(&mut self, now: Instant) -> Step {
        let is_frequent = self
            .last_request
            .replace(now)
            .is_some_and(|last| now.saturating_duration_since(last) < FREQUENT);
        if !is_frequent {
            let was_pinned = self.pinned_to.take().is_some();
            (self.requests, self.checks, self.moves) = (0, 0, 0);
            return if was_pinned { Step::Unpin } else { Step::Keep };
        }
        if self.paused_until.is_some_and(|end| now < end) {
            return Step::Keep;
        }
        self.requests = self.requests.wrapping_add(1);
        if self.requests.is_multiple_of(CHECK_EVERY) {
            Step::Check
        } else {
            Step::Keep
        }
    }

    fn on_check(&mut self, processor: usize, now: Instant) -> Check {
        if self.checks == CHECKS_PER_ROUND {
            (self.checks, self.moves) = (0, 0);
        }
        self.checks += 1;
        if self.pinned_to == Some(processor) {
            return Check::SameProcessor;
        }
        self.moves += 1;
        if self.moves > MOVES_MAX {
            self.pause(now);
            return Check::TooManyMoves;
        }
        self.pinned_to = Some(processor);
        Check::Moved
    }

    fn pause(&mut self, now: Instant) {
        self.pinned_to = None;
        self.paused_until = Some(now + PAUSE);
        (self.checks, self.moves) = (0, 0);
    }
}
