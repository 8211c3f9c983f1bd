//! The pool: files made ahead, because making one is most of what a program waits for when it
//! creates a file.
//!
//! A spare file has no name yet, is marked as one that somebody writes, and, with passthrough, is
//! known to the kernel. A thread of the lowest priority keeps the pool filled; when it comes too
//! late, files are made as they are asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{io, thread};

use rustix::process::{Resource, getrlimit, setpriority_process};

use super::backing::Backing;
use super::locked;
use crate::journal::FileId;

/// So many are kept ready: in 35,000 creations in a row, as fast as `cp` can, this never ran out.
const SPARES_MAX: usize = 512;

/// No more than this part of the files that we may have open.
const PART_OF_OPEN_FILES: u64 = 8;

/// Filled up again below this part: in one go, and not after every creation beside the program that
/// creates.
const PART_TO_FILL_FROM: usize = 2;

/// The lowest priority: a program that creates files competes for the same processor.
const PRIORITY: i32 = 19;

/// A file that nobody sees yet.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: File,
    pub(super) id: FileId,
    /// With passthrough.
    pub(super) backing: Option<Backing>,
}

/// Spare files, and the thread that makes them. When it is dropped, both go.
#[derive(Debug)]
pub(super) struct Pool {
    shelf: Arc<Shelf>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shelf {
    stock: Mutex<Stock>,
    short: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct Stock {
    ready: VecDeque<Spare>,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    /// As many as fit.
    #[default]
    More,
    /// None for now: there are enough, or none can be made.
    None,
    /// None any more.
    Never,
}

impl Pool {
    /// Makes spare files with `make` from now on.
    pub(super) fn start(make: impl Fn() -> io::Result<Spare> + Send + 'static) -> io::Result<Self> {
        let shelf = Arc::new(Shelf {
            stock: Mutex::default(),
            short: Condvar::new(),
            most: most(),
        });
        let filled = Arc::clone(&shelf);
        let thread = thread::Builder::new()
            .name("spares".to_owned())
            .spawn(move || {
                if let Err(error) = setpriority_process(None, PRIORITY) {
                    tracing::debug!(%error, "spare files are made at the usual priority");
                }
                filled.fill(&make);
            })?;
        Ok(Self {
            shelf,
            thread: Some(thread),
        })
    }

    pub(super) fn take(&self) -> Option<Spare> {
        let mut stock = locked(&self.shelf.stock);
        let spare = stock.ready.pop_front();
        if stock.ready.len() < self.shelf.most / PART_TO_FILL_FROM && stock.wanted == Wanted::None {
            stock.wanted = Wanted::More;
            self.shelf.short.notify_one();
        }
        spare
    }

    pub(super) fn give_back(&self, spare: Spare) {
        locked(&self.shelf.stock).ready.push_front(spare);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        locked(&self.shelf.stock).wanted = Wanted::Never;
        self.shelf.short.notify_one();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread that makes spare files panicked");
        }
    }
}

impl Shelf {
    fn fill(&self, make: &dyn Fn() -> io::Result<Spare>) {
        while self.wait_until_short() {
            let spare = make();
            let mut stock = locked(&self.stock);
            match spare {
                Ok(spare) => stock.ready.push_back(spare),
                Err(error) => {
                    // Programs that create files will meet the same, and be told.
                    tracing::debug!(%error, "no spare file can be made now");
                    stock.rest();
                }
            }
            if stock.ready.len() >= self.most {
                stock.rest();
            }
        }
    }

    fn wait_until_short(&self) -> bool {
        let enough = |stock: &mut Stock| stock.wanted == Wanted::None;
        let stock = self
            .short
            .wait_while(locked(&self.stock), enough)
            .unwrap_or_else(PoisonError::into_inner);
        stock.wanted == Wanted::More
    }
}

impl Stock {
    fn rest(&mut self) {
        if self.wanted == Wanted::More {
            self.wanted = Wanted::None;
        }
    }
}

fn most() -> usize {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open_files / PART_OF_OPEN_FILES)
        .unwrap_or(usize::MAX)
        .min(SPARES_MAX)
}
