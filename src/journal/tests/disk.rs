//! A disk in memory, stricter than a real one.
//!
//! It remembers every step, so that a test can cut the power behind any of them: what was not
//! synced is then kept, lost or torn by the sector, for each write separately. It fails on request,
//! and a failed sync leaves what it should have covered in an unknown state for ever, as on Linux.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use redb::{Builder, Database, DatabaseError, RepairSession, StorageBackend};

use crate::journal::Journal;
use crate::journal::database::{JournalDatabase, Storage};
use crate::journal::schema;
use crate::journal::storage::OpenedAs;

/// Bytes that a disk writes atomically.
const SECTOR: usize = 512;
/// Longest time that a test waits for something that must happen.
const LIMIT: Duration = Duration::from_secs(30);

/// A disk in memory that records its steps and can fail. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
struct State {
    content: Vec<u8>,
    /// What `content` was when `steps` began.
    base: Vec<u8>,
    steps: Vec<Step>,
    failure: Failure,
    failures: usize,
    syncs: Syncs,
    open: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Write { offset: usize, bytes: Vec<u8> },
    SetLength(usize),
    Sync,
    FailedSync,
}

/// Whether the disk fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Failure {
    #[default]
    Never,
    /// The step after so many more, once.
    After(usize),
    Always,
}

/// Whether syncs go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Syncs {
    #[default]
    Free,
    /// They wait.
    Held,
    /// They wait, and one does so now.
    Waiting,
}

impl Disk {
    /// A disk with an empty journal on it.
    pub(crate) fn formatted() -> Self {
        let disk = Self::default();
        let database = Builder::new()
            .create_with_backend(Handle(disk.clone()))
            .unwrap();
        schema::create_missing_tables(&database).unwrap();
        database.close().unwrap();
        disk.forget_steps();
        disk
    }

    /// Opens the journal on it. Fails the test if that needs a walk through the whole file.
    pub(crate) fn journal(&self) -> Journal {
        Journal::start(
            JournalDatabase::open(Box::new(self.clone())).unwrap(),
            OpenedAs::Existing,
        )
        .unwrap()
    }

    /// Steps so far: a place where the power may be cut.
    pub(super) fn steps(&self) -> usize {
        self.state().steps.len()
    }

    /// Syncs so far.
    pub(super) fn syncs(&self) -> usize {
        self.state()
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Sync))
            .count()
    }

    pub(super) fn forget_steps(&self) {
        let mut state = self.state();
        state.base = state.content.clone();
        state.steps.clear();
    }

    /// What is on the disk after the power was cut behind this many steps.
    pub(super) fn cut_after(&self, steps: usize, random: &mut Rng) -> Self {
        let state = self.state();
        let mut content = state.base.clone();
        for (index, step) in state.steps[..steps].iter().enumerate() {
            let rest = &state.steps[index + 1..steps];
            let synced = rest
                .iter()
                .find(|step| matches!(step, Step::Sync | Step::FailedSync));
            match synced {
                Some(Step::Sync) => step.apply(&mut content),
                _ => step.apply_in_part(&mut content, random),
            }
        }
        let state = State {
            base: content.clone(),
            content,
            ..State::default()
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    /// The step after this many more fails, once.
    pub(super) fn fail_after(&self, steps: usize) {
        self.state().failure = Failure::After(steps);
    }

    pub(crate) fn fail_always(&self) {
        self.state().failure = Failure::Always;
    }

    /// Steps that failed so far.
    pub(crate) fn failures(&self) -> usize {
        self.state().failures
    }

    pub(crate) fn heal(&self) {
        self.state().failure = Failure::Never;
    }

    /// Whether a failure that was asked for is still to come.
    pub(super) fn is_about_to_fail(&self) -> bool {
        self.state().failure != Failure::Never
    }

    pub(super) fn hold_syncs(&self) {
        self.state().syncs = Syncs::Held;
    }

    pub(super) fn wait_for_held_sync(&self) {
        let waiting = self
            .0
            .changed
            .wait_timeout_while(self.state(), LIMIT, |state| state.syncs != Syncs::Waiting);
        assert!(!waiting.unwrap().1.timed_out(), "no sync happens");
    }

    pub(super) fn release_syncs(&self) {
        self.state().syncs = Syncs::Free;
        self.0.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

impl Step {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::SetLength(length) => content.resize(*length, 0),
            Self::Sync | Self::FailedSync => {}
        }
    }

    fn apply_in_part(&self, content: &mut Vec<u8>, random: &mut Rng) {
        match (random.u8(0..3), self) {
            (0, _) => {}
            (1, Self::Write { offset, bytes }) => {
                for (index, sector) in bytes.chunks(SECTOR).enumerate().filter(|_| random.bool()) {
                    Self::Write {
                        offset: offset + index * SECTOR,
                        bytes: sector.to_vec(),
                    }
                    .apply(content);
                }
            }
            _ => self.apply(content),
        }
    }
}

impl State {
    /// Whether this step is the one that fails.
    fn fails(&mut self) -> bool {
        let (failure, fails) = match self.failure {
            Failure::Never => (Failure::Never, false),
            Failure::After(0) => (Failure::Never, true),
            Failure::After(steps) => (Failure::After(steps - 1), false),
            Failure::Always => (Failure::Always, true),
        };
        self.failure = failure;
        self.failures += usize::from(fails);
        fails
    }

    fn take(&mut self, step: Step) -> io::Result<()> {
        if self.fails() {
            return Err(io::Error::other("the disk failed"));
        }
        step.apply(&mut self.content);
        self.steps.push(step);
        Ok(())
    }
}

impl Storage for Disk {
    fn open(&self) -> Result<Database, DatabaseError> {
        assert!(
            !std::mem::replace(&mut self.state().open, true),
            "opened while it was open"
        );
        let mut builder = Builder::new();
        builder.set_repair_callback(RepairSession::abort);
        builder.create_with_backend(Handle(self.clone()))
    }

    fn mark_closed(&self) -> io::Result<()> {
        Ok(())
    }

    fn mark_suspect(&self) -> io::Result<()> {
        panic!("a disk that only fails or loses power damages nothing");
    }
}

/// The disk, opened by redb.
#[derive(Debug)]
struct Handle(Disk);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.state();
        let offset = usize::try_from(offset).unwrap();
        let bytes = state
            .content
            .get(offset..offset + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0
            .state()
            .take(Step::SetLength(usize::try_from(length).unwrap()))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.state().take(Step::Write {
            offset: usize::try_from(offset).unwrap(),
            bytes: bytes.to_vec(),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.state();
        while state.syncs != Syncs::Free {
            state.syncs = Syncs::Waiting;
            self.0.0.changed.notify_all();
            state = self.0.0.changed.wait(state).unwrap();
        }
        let synced = state.take(Step::Sync);
        if synced.is_err() {
            state.steps.push(Step::FailedSync);
        }
        synced
    }

    fn close(&self) -> io::Result<()> {
        self.0.state().open = false;
        Ok(())
    }
}
