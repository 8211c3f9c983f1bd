//! The intake as a whole, on a real directory and a real journal, without uploader and library.

mod disposition;
mod exchanges;
mod faults;
mod ingest;
mod journal_failures;
mod placeholders;
mod random_operations;
mod renames;
mod truncated;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::Fingerprint;
use tempfile::TempDir;

use super::downstream::Downstream;
use super::*;
use crate::journal::{Amount, FileRecord, FileState, FinishedUpload, NameChange, UploadOutcome};
use crate::uploader::Progress;

/// Longest time that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ignores everything.
#[derive(Debug, Default)]
struct NoDownstream;

impl Downstream for NoDownstream {
    fn files_pending(&self) {}
    fn names_changed(&self) {}
    fn abandon(&self, _: FileId) {}
    fn progress(&self, _: FileId) -> Option<Progress> {
        None
    }
}

/// A directory with a spool and a journal, and an intake over them.
struct Fixture {
    directory: TempDir,
    spool: Spool,
    journal: Option<Arc<Journal>>,
    intake: Option<Intake>,
    accept: Accept,
    pending_max: usize,
}

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

/// A JPEG as far as kind and completeness go: SOI, a scan with this content, EOI.
fn photo(content: &str) -> Vec<u8> {
    [
        b"\xff\xd8\xff\xda\0\x08\x01\x01\0\0\x3f\0".as_slice(),
        content.as_bytes(),
        b"\xff\xd9",
    ]
    .concat()
}

impl Fixture {
    fn new() -> Self {
        Self::with_pending_max(PENDING_MAX)
    }

    fn with_pending_max(pending_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool")).unwrap();
        let mut fixture = Self {
            directory,
            spool,
            journal: None,
            intake: None,
            accept: Accept::Images,
            pending_max,
        };
        fixture.open();
        fixture.settle();
        fixture
    }

    fn open(&mut self) {
        self.open_on(Journal::open(&self.journal_file()).unwrap());
    }

    fn open_on(&mut self, journal: Journal) {
        let journal = Arc::new(journal);
        // Opened anew, so that write states are those of another process.
        self.spool = Spool::open(self.spool.root()).unwrap();
        let context = IntakeContext::new(
            Box::new(self.spool.clone()),
            Arc::clone(&journal) as Arc<dyn journal_writer::JournalWriter>,
            Box::new(NoDownstream),
            Arc::new(SystemClock),
            self.accept,
            self.pending_max,
        );
        self.journal = Some(journal);
        self.intake = Some(Intake::with_context(context).unwrap());
    }

    /// Drops everything without stopping it, as a kill does.
    fn kill(&mut self) {
        self.intake = None;
        self.journal = None;
    }

    fn journal_file(&self) -> PathBuf {
        self.directory.path().join("journal.redb")
    }

    fn intake(&self) -> &Intake {
        self.intake.as_ref().unwrap()
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.spool.root().join(name)
    }

    fn id(&self, name: &str) -> FileId {
        FileId(fs::symlink_metadata(self.place(name)).unwrap().ino())
    }

    /// Writes a file as a program does through the mount.
    fn write(&self, name: &str, content: &[u8]) -> FileId {
        if let Some(folder) = self.place(name).parent() {
            fs::create_dir_all(folder).unwrap();
        }
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.place(name))
            .unwrap();
        let id = FileId(file.metadata().unwrap().ino());
        self.intake().opened_for_write(id, &path(name));
        fs::write(self.place(name), content).unwrap();
        self.intake().closed_after_write(id, &path(name));
        id
    }

    /// Writes a photo without a report.
    fn put(&self, name: &str) -> FileId {
        fs::write(self.place(name), photo(name)).unwrap();
        self.id(name)
    }

    fn rename(&self, from: &str, to: &str) {
        let id = self.id(from);
        let replaced = fs::symlink_metadata(self.place(to))
            .ok()
            .map(|it| FileId(it.ino()));
        fs::rename(self.place(from), self.place(to)).unwrap();
        self.intake()
            .file_renamed(id, &path(from), &path(to), replaced);
    }

    fn rename_folder(&self, from: &str, to: &str) {
        fs::rename(self.place(from), self.place(to)).unwrap();
        self.intake().folder_renamed(&path(from), &path(to));
    }

    fn exchange(&self, one: &str, other: &str) {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(
            CWD,
            self.place(one),
            CWD,
            self.place(other),
            RenameFlags::EXCHANGE,
        )
        .unwrap();
        self.intake().exchanged(&path(one), &path(other));
    }

    fn remove(&self, name: &str) {
        let id = self.id(name);
        fs::remove_file(self.place(name)).unwrap();
        self.intake().removed(id, &path(name));
    }

    /// Waits until everything reported was dealt with, also temporary names, which do not count as
    /// busy.
    fn settle(&self) {
        self.wait("the intake to be calm", |fixture| {
            let unscanned = fixture
                .intake()
                .context()
                .queue
                .state()
                .pending
                .unscanned()
                .count();
            fixture.intake().is_reconciled() && !fixture.intake().is_busy() && unscanned == 0
        });
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut watch = self.intake().subscribe();
        runtime.block_on(async {
            let end = tokio::time::Instant::now() + PATIENCE;
            while !done(self) {
                let changed = tokio::time::timeout_at(end, watch.changed()).await;
                assert!(changed.is_ok() || done(self), "waited too long for {what}");
            }
        });
    }

    fn record(&self, id: FileId) -> Option<FileRecord> {
        self.journal().file(id).unwrap()
    }

    fn state(&self, name: &str) -> FileState {
        let record = self
            .record(self.id(name))
            .unwrap_or_else(|| panic!("{name} is not in the journal"));
        assert_eq!(record.path, path(name));
        record.state
    }

    /// Does what the uploader does: everything pending is backed up.
    fn back_up_all(&self) {
        let waiting = self
            .journal()
            .pending(usize::MAX, 0, &std::collections::HashSet::new())
            .unwrap();
        let settled = waiting.into_iter().map(|(id, record)| {
            let FileState::Pending { fingerprint } = record.state else {
                panic!("pending gives {record:?}")
            };
            let receipt = heirloom_protocol::message::Receipt {
                fingerprint,
                size: record.stamp.size,
                stored_at_ms: 1,
                signature: None,
            };
            FinishedUpload {
                id,
                stamp: record.stamp,
                fingerprint,
                outcome: UploadOutcome::BackedUp { receipt },
            }
        });
        self.journal().finish_uploads(settled.collect()).unwrap();
    }

    /// Does what the library does: confirms and removes what is in the outbox.
    fn empty_outbox(&self) -> Vec<NameChange> {
        let queued = self.journal().queued_names(usize::MAX).unwrap();
        let (numbers, changes): (Vec<_>, Vec<_>) = queued.into_iter().unzip();
        let versions = changes.iter().flat_map(|change| match change {
            NameChange::Put { path, .. } => vec![(path.clone(), Some(1))],
            NameChange::Move { from, to } => vec![(from.clone(), None), (to.clone(), Some(1))],
            NameChange::Remove { path } => vec![(path.clone(), None)],
        });
        self.journal()
            .confirm_names(numbers, versions.collect())
            .unwrap();
        changes
    }

    /// Counts every file by hand, and checks that journal and disk agree.
    fn recount(&self) -> Tally {
        let mut tally = Tally::default();
        self.spool.walk(&mut |met| {
            let (path, id, stamp) = met.unwrap();
            let record = self
                .record(id)
                .unwrap_or_else(|| panic!("{path} is not in the journal"));
            assert_eq!((&record.path, record.stamp), (&path, stamp));
            let amount = match record.state {
                FileState::Pending { .. } => &mut tally.pending,
                FileState::BackedUp { .. } => &mut tally.backed_up,
                FileState::Local { .. } => &mut tally.local,
                FileState::Placeholder { .. } => &mut tally.placeholder,
                FileState::Failed { .. } => &mut tally.failed,
            };
            amount.files += 1;
            amount.bytes += stamp.size;
        });
        tally
    }
}

fn pending(content: &[u8]) -> FileState {
    FileState::Pending {
        fingerprint: Fingerprint::of(content),
    }
}

fn backed_up(content: &[u8]) -> FileState {
    FileState::BackedUp {
        fingerprint: Fingerprint::of(content),
    }
}

fn local(why: &str) -> FileState {
    FileState::Local {
        why: why.to_owned(),
    }
}

fn moved(from: &str, to: &str) -> NameChange {
    NameChange::Move {
        from: path(from),
        to: path(to),
    }
}
