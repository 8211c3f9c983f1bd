//! *Staff*: the room's threads, hired and dismissed together.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::IntakeError;
use super::inside::Inside;
use crate::background::lower_priority;

/// One reads and hashes while the other waits for the disk; more would only compete with the
/// programs that write photos.
const WORKERS: usize = 2;

/// `stop` takes in what is closed for no longer than this: a person waits for the unmount. The rest
/// is found at the next start.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The threads, and what they work on. The threads hold only the latter, so that the room ends when
/// its users let go of it.
#[derive(Debug)]
pub(super) struct Staff {
    inside: Arc<Inside>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Staff {
    pub(super) fn hire(inside: Inside) -> Result<Self, IntakeError> {
        let staff = Self {
            inside: Arc::new(inside),
            threads: Mutex::default(),
        };
        for _ in 0..WORKERS {
            staff.start("intake", Inside::work)?;
        }
        staff.start("names", Inside::follow_when_told)?;
        staff.start("comparison", Inside::compare_when_wanted)?;
        Ok(staff)
    }

    pub(super) fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Lets them finish what is due, for a while, and waits until they are gone.
    pub(super) fn dismiss(&self) {
        self.inside.desk.end_by(Instant::now() + STOP_MAX);
        self.wait();
    }

    fn start(&self, name: &'static str, life: fn(&Inside)) -> Result<(), IntakeError> {
        let inside = Arc::clone(&self.inside);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            lower_priority();
            life(&inside);
        });
        let thread = thread.map_err(|source| IntakeError::Thread { name, source })?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    fn wait(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the intake panicked");
            }
        }
    }
}

impl Drop for Staff {
    fn drop(&mut self) {
        self.inside.desk.end_now();
        self.wait();
    }
}
