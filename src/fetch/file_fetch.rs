//! *A fetch*: one photo on its way back into its placeholder, with what came, who waits, and how it
//! ended.
//!
//! It lives as long as somebody has the file open or a piece is on its way. All who open the file
//! meanwhile share it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use heirloom_crash::CrashPoint;
use heirloom_protocol::{ByteRange, Fingerprint};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::error::FetchError;
use super::planner::{Company, Pieces};
use super::{FetchOptions, locked};
use crate::journal::{FileId, Stamp};
use crate::spool::{Access, Durability, OpenOptions, Placeholder, reopen_to_fill};

/// One photo on its way back.
#[derive(Debug)]
pub(super) struct Fetch {
    id: FileId,
    file: File,
    fingerprint: Fingerprint,
    state: Mutex<State>,
    /// Held by whoever changes the file's bytes. Taken before `state`, never after.
    pen: Mutex<()>,
    news: watch::Sender<u64>,
    /// Rings when somebody begins to wait.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    pieces: Pieces,
    readers: usize,
    course: Course,
    work: Work,
    /// When something last came from the server.
    heard: Instant,
    /// What the last request met, until something comes again.
    trouble: Option<String>,
}

/// How far it is.
#[derive(Clone, Debug)]
enum Course {
    Fetching,
    /// The file is an ordinary one.
    Whole,
    /// The file was emptied: an ordinary one, with other content.
    Abandoned,
    /// It came to nothing; the next who wants it tries again.
    Failed(FetchError),
}

/// Whether a task works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    Running,
}

/// What is left to do when no piece is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing for now: the task may end, and is marked as ended.
    Nothing,
    /// All bytes are here and have to be believed or not.
    Seal,
    /// This piece, which somebody wants since; it is on its way from now on.
    Piece(ByteRange),
}

impl Fetch {
    /// Of a placeholder, by any open file of it.
    pub(super) fn new(
        id: FileId,
        file: &File,
        placeholder: Placeholder,
        manner: &FetchOptions,
    ) -> io::Result<Self> {
        let Placeholder {
            fingerprint,
            stamp,
            held,
        } = placeholder;
        let file = reopen_to_fill(
            file,
            OpenOptions {
                access: Access::ReadWrite,
                durability: Durability::Lazy,
            },
        )?;
        let pieces = Pieces::new(stamp.size, held, manner.head_bytes, manner.piece_bytes);
        let (course, work, heard) = (Course::Fetching, Work::Idle, Instant::now());
        let state = State {
            stamp,
            pieces,
            readers: 0,
            course,
            work,
            heard,
            trouble: None,
        };
        Ok(Self {
            id,
            file,
            fingerprint,
            state: Mutex::new(state),
            pen: Mutex::default(),
            news: watch::Sender::new(0),
            wanted: Notify::new(),
        })
    }

    pub(super) const fn id(&self) -> FileId {
        self.id
    }
    pub(super) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
    pub(super) fn stamp(&self) -> Stamp {
        locked(&self.state).stamp
    }
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Whether the file is still a placeholder, so that whoever opens it shares this fetch.
    pub(super) fn is_live(&self) -> bool {
        matches!(
            locked(&self.state).course,
            Course::Fetching | Course::Failed(_)
        )
    }
    pub(super) fn is_whole(&self) -> bool {
        matches!(
            locked(&self.state).course,
            Course::Whole | Course::Abandoned
        )
    }
    /// Whether all bytes are here, and nobody has said yet what they are.
    pub(super) fn is_all_here(&self) -> bool {
        let state = locked(&self.state);
        matches!(state.course, Course::Fetching) && state.pieces.is_whole()
    }
    pub(super) fn is_at_work(&self) -> bool {
        locked(&self.state).work == Work::Running
    }

    /// Whether these bytes can be read from the file now.
    pub(super) fn holds(&self, range: ByteRange) -> bool {
        let state = locked(&self.state);
        match state.course {
            Course::Whole | Course::Abandoned => true,
            Course::Fetching | Course::Failed(_) => state.pieces.holds(range),
        }
    }

    pub(super) fn reader_came(&self) {
        locked(&self.state).readers += 1;
    }
    pub(super) fn reader_left(&self) {
        locked(&self.state).readers -= 1;
    }

    /// Somebody waits for these bytes. Whether a task has to be started for them, which is marked
    /// as running from now on.
    pub(super) fn want(&self, range: Option<ByteRange>) -> bool {
        let mut state = locked(&self.state);
        if let Course::Failed(_) = state.course {
            state.course = Course::Fetching;
        }
        if let Some(range) = range {
            state.pieces.want(range);
        }
        self.wanted.notify_one();
        state.work == Work::Idle && std::mem::replace(&mut state.work, Work::Running) == Work::Idle
    }

    /// Returns when somebody has begun to wait since this was last asked.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(super) fn unwant(&self, range: ByteRange) {
        locked(&self.state).pieces.unwant(range);
    }

    /// How it ended, for one who waits for `range`, or for the whole where there is none; nothing
    /// if it has not.
    pub(super) fn outcome(&self, range: Option<ByteRange>) -> Option<Result<(), FetchError>> {
        let state = locked(&self.state);
        match &state.course {
            Course::Whole => Some(Ok(())),
            Course::Abandoned => Some(Err(FetchError::Discarded)),
            Course::Failed(error) => Some(Err(error.clone())),
            Course::Fetching => range
                .filter(|range| state.pieces.holds(*range))
                .map(|_| Ok(())),
        }
    }

    /// When something last came, and what the last request met since.
    pub(super) fn heard(&self) -> (Instant, Option<String>) {
        let state = locked(&self.state);
        (state.heard, state.trouble.clone())
    }

    /// Something comes from the server.
    pub(super) fn hear(&self) {
        locked(&self.state).heard = Instant::now();
    }

    /// The next piece to ask for.
    pub(super) fn next_piece(&self) -> Option<ByteRange> {
        locked(&self.state).next_piece()
    }

    /// What is left to do when no piece is on its way.
    pub(super) fn rest(&self) -> Rest {
        let mut state = locked(&self.state);
        if matches!(state.course, Course::Fetching) && state.pieces.is_whole() {
            return Rest::Seal;
        }
        if let Some(piece) = state.next_piece() {
            return Rest::Piece(piece);
        }
        state.work = Work::Idle;
        Rest::Nothing
    }

    /// A piece has come: on the disk, and noted on the file, when this returns. Blocks.
    pub(super) fn put(&self, piece: ByteRange, bytes: &Bytes) -> Result<(), FetchError> {
        let written = {
            let _pen = locked(&self.pen);
            if !self.is_live() {
                return Err(FetchError::Discarded);
            }
            self.write(piece, bytes)
        };
        let mut state = locked(&self.state);
        match &written {
            Ok(()) => (state.trouble, state.heard) = (None, Instant::now()),
            Err(_) => state.pieces.failed(piece),
        }
        drop(state);
        self.tell();
        written
    }

    fn write(&self, piece: ByteRange, bytes: &Bytes) -> Result<(), FetchError> {
        let failed = |source: io::Error| FetchError::Disk {
            doing: "fill",
            source: Arc::new(source),
        };
        let filled = self.file.write_all_at(bytes, piece.start());
        // Also after an error: some of it may have been written, and the time has changed.
        let restored = self.declaration().restore_time(&self.file);
        filled
            .and(restored)
            .and_then(|()| self.file.sync_data())
            .map_err(failed)?;
        heirloom_crash::reached(CrashPoint::FetchedRangeSynced);
        let mut state = locked(&self.state);
        state.pieces.came(piece);
        self.declared(&state).write_to(&self.file).map_err(failed)?;
        heirloom_crash::reached(CrashPoint::FetchedRangeRecorded);
        Ok(())
    }

    /// A piece will not come, and why. `Err`: nor will any other. Nothing is read ahead for now:
    /// the next who reads asks again.
    pub(super) fn miss(&self, piece: ByteRange, why: Result<String, FetchError>) {
        let mut state = locked(&self.state);
        state.pieces.failed(piece);
        state.pieces.stop_reading_ahead();
        match why {
            Ok(why) => state.trouble = Some(why),
            Err(error) if matches!(state.course, Course::Fetching) => {
                state.course = Course::Failed(error);
            }
            Err(_) => {}
        }
        drop(state);
        self.tell();
    }

    /// Decides what the bytes are, while nobody else changes them, and whether the file is an
    /// ordinary one from now on. Blocks.
    pub(super) fn conclude(
        &self,
        judge: impl FnOnce(&File) -> io::Result<Fingerprint>,
    ) -> Result<(), FetchError> {
        let failed = |doing| {
            move |source: io::Error| FetchError::Disk {
                doing,
                source: Arc::new(source),
            }
        };
        let _pen = locked(&self.pen);
        if !self.is_live() {
            return Err(FetchError::Discarded);
        }
        let concluded = match judge(&self.file).map_err(failed("read")) {
            Ok(found) if found == self.fingerprint => {
                self.become_ordinary().map_err(failed("complete"))
            }
            Ok(_) => self
                .throw_away()
                .map_err(failed("empty"))
                .and(Err(FetchError::Corrupt)),
            Err(error) => Err(error),
        };
        let mut state = locked(&self.state);
        state.course = match &concluded {
            Ok(()) => Course::Whole,
            Err(error) => Course::Failed(error.clone()),
        };
        state.work = Work::Idle;
        drop(state);
        self.tell();
        concluded
    }

    /// Bytes and time are on the disk before the attribute goes that doubts them.
    fn become_ordinary(&self) -> io::Result<()> {
        self.declaration().restore_time(&self.file)?;
        self.file.sync_all()?;
        heirloom_crash::reached(CrashPoint::FetchedFileSynced);
        Placeholder::clear(&self.file)?;
        self.file.sync_all()?;
        heirloom_crash::reached(CrashPoint::PlaceholderCleared);
        Ok(())
    }

    fn throw_away(&self) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.pieces.disbelieve();
        let empty = self.declared(&state);
        drop(state);
        empty.discard_data(&self.file)
    }

    /// The file is about to be emptied: nothing is written into it from now on, and it is an
    /// ordinary one.
    pub(super) fn abandon(&self) -> io::Result<()> {
        let _pen = locked(&self.pen);
        if !self.is_live() {
            return Ok(());
        }
        Placeholder::clear(&self.file)?;
        locked(&self.state).course = Course::Abandoned;
        self.tell();
        Ok(())
    }

    /// Its owner set another time.
    pub(super) fn retime(&self, mtime_ns: i64) -> io::Result<()> {
        let _pen = locked(&self.pen);
        let mut state = locked(&self.state);
        state.stamp.mtime_ns = mtime_ns;
        if !matches!(state.course, Course::Fetching | Course::Failed(_)) {
            return Ok(());
        }
        let declared = self.declared(&state);
        declared.write_to(&self.file)?;
        declared.restore_time(&self.file)
    }

    fn declaration(&self) -> Placeholder {
        self.declared(&locked(&self.state))
    }

    fn declared(&self, state: &State) -> Placeholder {
        Placeholder {
            fingerprint: self.fingerprint,
            stamp: state.stamp,
            held: state.pieces.held().clone(),
        }
    }

    fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl State {
    fn next_piece(&mut self) -> Option<ByteRange> {
        let company = if self.readers > 0 {
            Company::Readers
        } else {
            Company::None
        };
        match self.course {
            Course::Fetching => self.pieces.next(company),
            Course::Whole | Course::Abandoned | Course::Failed(_) => None,
        }
    }
}

/// Notes another time on a placeholder that nobody fetches. Of an ordinary file there is nothing to
/// note.
pub(super) fn retime(file: &File, mtime_ns: i64) -> io::Result<()> {
    match Placeholder::of(file)? {
        Some(mut found) => {
            found.stamp.mtime_ns = mtime_ns;
            found.write_to(file)
        }
        None => Ok(()),
    }
}
