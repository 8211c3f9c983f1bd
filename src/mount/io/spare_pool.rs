//! A pool of files created ahead, because creating a file is most of what a program waits for when
//! it creates one.
//!
//! A spare file has no name yet (`O_TMPFILE`), is marked as being written, and, with passthrough,
//! has a backing id. A thread of the lowest priority refills the pool; when the pool is empty,
//! files are created on demand.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, thread};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Resource, getrlimit, setpriority_process};

use super::backing::Backing;
use crate::journal::FileId;

/// Files kept ready. In 35,000 creations in a row, as fast as `cp` can, the pool never ran out.
const SPARE_FILES_MAX: usize = 512;

/// The pool takes at most one in this many of the files that the process may have open.
const OPEN_FILES_DIVISOR: u64 = 8;

/// The pool is refilled, in one go, when less than one in this many of its files is left: not after
/// every creation, in competition with the program that creates.
const REFILL_DIVISOR: usize = 2;

/// The nice value of the refilling thread: a program that creates files competes for the same
/// processor.
const NICE_VALUE: i32 = 19;

/// An open file without a name.
#[derive(Debug)]
pub(in crate::mount) struct SpareFile {
    pub(in crate::mount) file: File,
    pub(in crate::mount) id: FileId,
    /// Present with passthrough.
    pub(in crate::mount) backing: Option<Backing>,
}

/// Spare files, and the thread that creates them. Dropping the pool closes the files and ends the
/// thread.
#[derive(Debug)]
pub(in crate::mount) struct SpareFilePool {
    shared: Arc<PoolShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct PoolShared {
    state: Mutex<PoolState>,
    refill: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct PoolState {
    ready: VecDeque<SpareFile>,
    refilling: Refilling,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Refilling {
    /// Until the pool is full.
    #[default]
    Active,
    /// The pool is full enough, or no file can be created now.
    Paused,
    /// The pool is being dropped.
    Stopped,
}

impl SpareFilePool {
    /// Starts to create spare files with `create`.
    pub(in crate::mount) fn start(
        create: impl Fn() -> io::Result<SpareFile> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(PoolShared {
            state: Mutex::default(),
            refill: Condvar::new(),
            capacity: capacity(),
        });
        let filled = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("spare-files".to_owned())
            .spawn(move || {
                if let Err(error) = setpriority_process(None, NICE_VALUE) {
                    tracing::debug!(%error, "spare files are created at normal priority");
                }
                filled.fill(&create);
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(in crate::mount) fn take(&self) -> Option<SpareFile> {
        let mut state = self.shared.state.lock();
        let spare = state.ready.pop_front();
        if state.ready.len() < self.shared.capacity / REFILL_DIVISOR
            && state.refilling == Refilling::Paused
        {
            state.refilling = Refilling::Active;
            self.shared.refill.notify_one();
        }
        spare
    }

    pub(in crate::mount) fn put_back(&self, spare: SpareFile) {
        self.shared.state.lock().ready.push_front(spare);
    }
}

impl Drop for SpareFilePool {
    fn drop(&mut self) {
        self.shared.state.lock().refilling = Refilling::Stopped;
        self.shared.refill.notify_one();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread that creates spare files panicked");
        }
    }
}

impl PoolShared {
    fn fill(&self, create: &dyn Fn() -> io::Result<SpareFile>) {
        while self.wait_for_refill() {
            let spare = create();
            let mut state = self.state.lock();
            match spare {
                Ok(spare) => state.ready.push_back(spare),
                Err(error) => {
                    // A program that creates a file meets the same error, and gets it as a reply.
                    tracing::debug!(%error, "no spare file can be created now");
                    state.pause();
                }
            }
            if state.ready.len() >= self.capacity {
                state.pause();
            }
        }
    }

    /// Waits until files are needed; `false` when the pool is being dropped.
    fn wait_for_refill(&self) -> bool {
        let mut state = self.state.lock();
        self.refill
            .wait_while(&mut state, |state| state.refilling == Refilling::Paused);
        state.refilling == Refilling::Active
    }
}

impl PoolState {
    fn pause(&mut self) {
        if self.refilling == Refilling::Active {
            self.refilling = Refilling::Paused;
        }
    }
}

fn capacity() -> usize {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open_files / OPEN_FILES_DIVISOR)
        .unwrap_or(usize::MAX)
        .min(SPARE_FILES_MAX)
}
