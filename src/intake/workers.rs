//! The intake's threads, started and stopped together.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::context::IntakeContext;
use super::reconcile::Reconciler;
use super::rename::Renamer;
use super::worker::Worker;
use crate::background::lower_priority;

/// Scanning threads: one reads and hashes while the other waits for the disk; more would only
/// compete with the programs that write photos.
const SCAN_THREADS: usize = 2;

/// `stop` scans closed files for no longer than this, because a person waits for the unmount. The
/// rest is found at the next start.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The intake could not be started.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The system did not start a thread.
    #[error("start the intake's thread {name}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
}

/// The threads and their context. The threads hold only the context, so that they end when the last
/// user drops this.
#[derive(Debug)]
pub(super) struct Workers {
    context: Arc<IntakeContext>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    pub(super) fn start(context: IntakeContext) -> Result<Self, IntakeError> {
        let workers = Self {
            context: Arc::new(context),
            threads: Mutex::default(),
        };
        for _ in 0..SCAN_THREADS {
            workers.spawn("scan", |context| Worker::new(context).run())?;
        }
        workers.spawn("rename", |context| Renamer::new(context).run())?;
        workers.spawn("reconcile", |context| Reconciler::new(context).run())?;
        Ok(workers)
    }

    pub(super) fn context(&self) -> &IntakeContext {
        &self.context
    }

    /// Lets the threads finish what is due, for a few seconds at most, and waits until they end.
    pub(super) fn stop(&self) {
        self.context
            .queue
            .drain_until(self.context.clock.now() + STOP_MAX);
        self.join();
    }

    fn spawn(&self, name: &'static str, run: fn(&IntakeContext)) -> Result<(), IntakeError> {
        let context = Arc::clone(&self.context);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            lower_priority();
            run(&context);
        });
        let thread = thread.map_err(|source| IntakeError::Thread { name, source })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the intake panicked");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.context.queue.shut_down_now();
        self.join();
    }
}
