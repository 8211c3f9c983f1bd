//! Beside whoever asks: the threads that answer the kernel run on the processor of the program that
//! asks.
//!
//! A program that copies many small files waits for each answer, so it and we take turns, and a
//! second processor makes nothing faster. It makes it slower: whoever is woken on another processor
//! has to be called there, which in a virtual machine, where an idle processor is halted, takes
//! longer than all the work for the answer. Linux leaves either where it last ran. So we move:
//! while requests come thick, one in a few has its program's processor looked up, and all our
//! threads are bound to it.
//!
//! A program that moves away at each answer, as it may where cores share a cache and idle ones are
//! called quickly, and several that ask from different processors cannot be followed. Then, and
//! when requests come thinly, the threads run wherever Linux likes (decision 21).

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};

#[cfg(test)]
mod tests;

/// One request in so many has its program looked up, which takes 4 microseconds; a call to another
/// processor takes 2 to 50.
const LOOK_EVERY: u32 = 4;

/// Requests that are further apart do not come thick: a call more or less is of no matter to them.
const THICK: Duration = Duration::from_millis(10);

/// A program that was somewhere else in more than `MOVES_MAX` of so many looks cannot be followed.
const LOOKS: u32 = 64;

/// Linux moves a program that copies alone in one of twenty looks, to a processor with nothing to
/// do; one that sends its bytes through us (the direct path), or is two (rsync), in one of two. One
/// that cannot be followed is away at each.
const MOVES_MAX: u32 = 56;

/// Before we try again to follow.
const REST: Duration = Duration::from_millis(250);

/// More than `/proc/.../stat` ever holds: some fifty numbers and a name.
const STAT_MAX: usize = 2048;

/// The place in `/proc/.../stat` of the processor, after the name (`proc_pid_stat(5)`: field 39;
/// the name is field 2).
const PROCESSOR_FIELD: usize = 39 - 3;

thread_local! {
    /// Whether this thread, which answers the kernel, is among those that move.
    static KNOWN: Cell<bool> = const { Cell::new(false) };
}

/// The threads that answer the kernel, and where they are.
#[derive(Debug, Default)]
pub(super) struct Beside {
    company: Mutex<Company>,
}

#[derive(Debug, Default)]
struct Company {
    threads: Vec<Pid>,
    following: Following,
    /// Where the threads may run, as long as nobody is followed.
    anywhere: Option<CpuSet>,
    /// Whom we looked for last, and where to look.
    asker: Option<(u32, File)>,
}

impl Beside {
    /// Called by a thread that has just answered a request of `asker`, a thread's number, or 0 if
    /// the kernel itself asked.
    pub(super) fn answered(&self, asker: u32) {
        if asker == 0 {
            return;
        }
        // Another thread that is here looks for all; nobody who answers waits for that.
        let mut company = match self.company.try_lock() {
            Ok(company) => company,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Err(error) = company.answered(asker) {
            // A program that has just ended, or one on a processor that we are kept from.
            tracing::trace!(%error, asker, "not followed");
        }
    }
}

impl Company {
    fn answered(&mut self, asker: u32) -> io::Result<()> {
        if !KNOWN.replace(true) {
            self.threads.push(gettid());
            if let Some(place) = self.following.place {
                // The others are there.
                sched_setaffinity(None, &only(place))?;
            }
        }
        let now = Instant::now();
        match self.following.asked(now) {
            Step::Stay => Ok(()),
            Step::Part => self.part(),
            Step::Look => self.look(asker, now).or_else(|error| {
                self.following.rest(now);
                self.part().and(Err(error))
            }),
        }
    }

    fn look(&mut self, asker: u32, now: Instant) -> io::Result<()> {
        let processor = self.processor_of(asker)?;
        let anywhere = match self.anywhere {
            Some(anywhere) => anywhere,
            None => sched_getaffinity(None)?,
        };
        if !anywhere.is_set(processor) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        match self.following.found(processor, now) {
            Found::Beside => Ok(()),
            Found::Away => {
                self.anywhere = Some(anywhere);
                self.bind(&only(processor))
            }
            Found::Restless => self.part(),
        }
    }

    fn part(&mut self) -> io::Result<()> {
        match self.anywhere.take() {
            Some(anywhere) => self.bind(&anywhere),
            None => Ok(()),
        }
    }

    /// The caller, who is awake and has to be carried, last.
    fn bind(&self, to: &CpuSet) -> io::Result<()> {
        let own = gettid();
        for thread in self.threads.iter().filter(|thread| **thread != own) {
            sched_setaffinity(Some(*thread), to)?;
        }
        Ok(sched_setaffinity(Some(own), to)?)
    }

    fn processor_of(&mut self, asker: u32) -> io::Result<usize> {
        let stat = match self.asker.take() {
            Some((known, stat)) if known == asker => stat,
            _ => File::open(format!("/proc/{asker}/task/{asker}/stat"))?,
        };
        let mut text = [0; STAT_MAX];
        let length = stat.read_at(&mut text, 0)?;
        self.asker = Some((asker, stat));
        processor(&text[..length]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}

/// The processor that a thread ran on last. A name may hold anything, also brackets: it ends with
/// the last one.
fn processor(stat: &[u8]) -> Option<usize> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let field = stat
        .get(name_end + 2..)?
        .split(|byte| *byte == b' ')
        .nth(PROCESSOR_FIELD)?;
    let processor = std::str::from_utf8(field).ok()?.parse().ok()?;
    (processor < CpuSet::MAX_CPU).then_some(processor)
}

/// Whether to follow, and where we are: what was seen so far of those who ask.
#[derive(Debug, Default)]
struct Following {
    /// The processor that we are bound to.
    place: Option<usize>,
    last_asked: Option<Instant>,
    /// Requests since they came thick.
    asked: u32,
    looks: u32,
    moves: u32,
    resting_until: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Look,
    /// Run anywhere again.
    Part,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Beside,
    /// Somewhere else: to be followed.
    Away,
    /// Somewhere else too often.
    Restless,
}

impl Following {
    fn asked(&mut self, now: Instant) -> Step {
        let thick = self
            .last_asked
            .replace(now)
            .is_some_and(|last| now.saturating_duration_since(last) < THICK);
        if !thick {
            let was_bound = self.place.take().is_some();
            (self.asked, self.looks, self.moves) = (0, 0, 0);
            return if was_bound { Step::Part } else { Step::Stay };
        }
        if self.resting_until.is_some_and(|end| now < end) {
            return Step::Stay;
        }
        self.asked = self.asked.wrapping_add(1);
        if self.asked.is_multiple_of(LOOK_EVERY) {
            Step::Look
        } else {
            Step::Stay
        }
    }

    fn found(&mut self, processor: usize, now: Instant) -> Found {
        if self.looks == LOOKS {
            (self.looks, self.moves) = (0, 0);
        }
        self.looks += 1;
        if self.place == Some(processor) {
            return Found::Beside;
        }
        self.moves += 1;
        if self.moves > MOVES_MAX {
            self.rest(now);
            return Found::Restless;
        }
        self.place = Some(processor);
        Found::Away
    }

    fn rest(&mut self, now: Instant) {
        self.place = None;
        self.resting_until = Some(now + REST);
        (self.looks, self.moves) = (0, 0);
    }
}
