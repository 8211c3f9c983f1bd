//! Renames and removals that the mount reported, applied to the journal and the library's outbox.
//!
//! They are applied in the order reported, many in one transaction. A renamed folder is walked
//! under its new name; by then later renames may already have happened on the disk, so a file may
//! be found where the journal does not expect it. Then its old name may belong to another file
//! already, and moves in the library only if no file has it any more.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use heirloom_protocol::LibraryPath;

use super::context::{IntakeContext, JournalWriteGuard};
use super::kind::is_sidecar;
use super::name::skip_reason_for_name;
use super::queue::{FileOrigin, NameEvent, rebased};
use crate::journal::{FileId, FileState, JournalError, NameUpdate};
use crate::spool::{Kind, Metadata, SpoolPath};

/// Events, and updates, in one transaction: enough that the flush does not count.
const PAGE: usize = 512;

/// Delay before events are applied again when the journal could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// Whether a rename alone changes whether a file is to be backed up.
pub(super) fn changes_skip_reason(from: &LibraryPath, to: &LibraryPath) -> bool {
    skip_reason_for_name(from) != skip_reason_for_name(to) || is_sidecar(from) != is_sidecar(to)
}

/// What is known of a file's name before a rename.
#[derive(Clone, Copy, Debug)]
enum OldName<'a> {
    /// It had this name.
    Known(&'a LibraryPath),
    /// It was renamed while no mount was running.
    Unknown,
    /// Another file may have its name now, in exchange.
    Exchanged,
}

/// Updates to be written in one transaction.
#[derive(Debug, Default)]
struct Page {
    updates: Vec<NameUpdate>,
    ids: HashSet<FileId>,
}

/// Applies name events to the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renamer<'a>(&'a IntakeContext);

impl<'a> Renamer<'a> {
    pub(super) fn new(context: &'a IntakeContext) -> Self {
        Self(context)
    }

    /// Applies events as they are reported. When the intake stops, those reported are still
    /// applied.
    pub(super) fn run(self) {
        while self.0.queue.wait_for_events() {
            let mut guard = self.0.lock_journal();
            if let Err(error) = self.catch_up(&mut guard) {
                drop(guard);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot apply renames to the journal; trying again"
                );
                if self.0.queue.is_shutting_down() {
                    return;
                }
                self.0.queue.pause(RETRY);
            }
        }
    }

    /// Applies all events reported so far.
    pub(super) fn catch_up(self, _guard: &mut JournalWriteGuard<'_>) -> Result<(), JournalError> {
        loop {
            let events = self.0.queue.take_events(PAGE);
            if events.is_empty() {
                return Ok(());
            }
            // What was applied before an error is applied again, and changes nothing then.
            match self.apply(&events) {
                Ok(()) => self.0.queue.events_applied(),
                Err(error) => {
                    self.0.queue.return_events(events);
                    return Err(error);
                }
            }
        }
    }

    fn apply(self, events: &[NameEvent]) -> Result<(), JournalError> {
        let mut page = Page::default();
        for event in events {
            match event {
                NameEvent::FileRenamed {
                    id,
                    from,
                    to,
                    replaced,
                } => {
                    page.updates
                        .extend(replaced.map(|id| NameUpdate::Forget { id }));
                    self.rename_file(&mut page, *id, OldName::Known(from), to)?;
                }
                NameEvent::FolderRenamed { from, to } => {
                    self.rename_folder(&mut page, from, to)?;
                }
                NameEvent::Exchanged { one, other } => {
                    self.exchange(&mut page, other)?;
                    self.exchange(&mut page, one)?;
                }
                NameEvent::Removed { id, path } => self.remove(&mut page, *id, path)?,
                NameEvent::Discovered { id, path } => {
                    // If it was renamed since the comparison found it, that was reported, too.
                    if self.0.source.id_at(path) == Some(*id) {
                        self.rename_file(&mut page, *id, OldName::Unknown, path)?;
                    }
                }
            }
        }
        self.write_page(&mut page)
    }

    /// Records that a file has the name `to`.
    fn rename_file(
        self,
        page: &mut Page,
        id: FileId,
        old_name: OldName<'_>,
        to: &LibraryPath,
    ) -> Result<(), JournalError> {
        if page.ids.contains(&id) || page.updates.len() >= PAGE {
            // What follows depends on the journal, which therefore needs all earlier updates.
            self.write_page(page)?;
        }
        let Some(record) = self.0.journal.file(id)? else {
            self.queue_scan(id, to);
            return Ok(());
        };
        if record.path == *to {
            return Ok(());
        }
        if changes_skip_reason(&record.path, to) {
            self.queue_scan(id, to);
        }
        page.ids.insert(id);
        let is_ignored =
            skip_reason_for_name(&record.path).is_some() || skip_reason_for_name(to).is_some();
        let to = to.clone();
        page.updates.push(if is_ignored {
            NameUpdate::Rename { id, to }
        } else if self.takes_library_entry(&record.path, old_name)? {
            NameUpdate::Move { id, to }
        } else {
            NameUpdate::Put { id, to }
        });
        Ok(())
    }

    /// Whether the library's entry under a file's old path moves with the file, because no other
    /// file has that path now.
    fn takes_library_entry(
        self,
        old_path: &LibraryPath,
        old_name: OldName<'_>,
    ) -> Result<bool, JournalError> {
        if let OldName::Known(from) = old_name
            && from == old_path
        {
            return Ok(true);
        }
        let Some(other) = self.0.source.id_at(old_path) else {
            return Ok(true);
        };
        match old_name {
            OldName::Known(_) | OldName::Unknown => Ok(false),
            // If the other file is backed up, it puts its own entry there in the same page; if not,
            // it does so once it is.
            OldName::Exchanged => {
                let other = self.0.journal.file(other)?;
                Ok(!other.is_some_and(|it| matches!(it.state, FileState::BackedUp { .. })))
            }
        }
    }

    fn rename_folder(
        self,
        page: &mut Page,
        from: &LibraryPath,
        to: &LibraryPath,
    ) -> Result<(), JournalError> {
        self.visit_files(to, |id, path| {
            let old = rebased(path, to, from);
            let old_name = old.as_ref().map_or(OldName::Unknown, OldName::Known);
            self.rename_file(page, id, old_name, path)
        })
    }

    /// Records the name `to` for the file or folder that came there by an exchange.
    fn exchange(self, page: &mut Page, to: &LibraryPath) -> Result<(), JournalError> {
        match self.0.source.metadata(to) {
            Ok(Metadata {
                kind: Kind::File,
                id,
                ..
            }) => self.rename_file(page, id, OldName::Exchanged, to),
            Ok(Metadata {
                kind: Kind::Folder, ..
            }) => self.visit_files(to, |id, path| {
                self.rename_file(page, id, OldName::Exchanged, path)
            }),
            // Removed or replaced since: that was reported as well, and comes later.
            Ok(Metadata {
                kind: Kind::Link | Kind::Special,
                ..
            })
            | Err(_) => Ok(()),
        }
    }

    /// Calls back for every file in and below a folder, until an error.
    fn visit_files(
        self,
        folder: &LibraryPath,
        mut visit: impl FnMut(FileId, &LibraryPath) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut failed = None;
        let folder = SpoolPath::Entry(folder.clone());
        self.0.source.walk(folder, &mut |step| {
            let visited = match step {
                Ok((path, id, _)) => visit(id, &path),
                // Renamed again, or removed: that was reported as well, and comes later.
                Err(error) if error.is_missing() => Ok(()),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot read part of a renamed folder"
                    );
                    Ok(())
                }
            };
            failed = visited.err();
            if failed.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn remove(self, page: &mut Page, id: FileId, path: &LibraryPath) -> Result<(), JournalError> {
        if page.ids.contains(&id) {
            self.write_page(page)?;
        }
        let Some(record) = self.0.journal.file(id)? else {
            return Ok(());
        };
        page.ids.insert(id);
        // Where the journal is behind, its name for this file may be another file's by now.
        let is_its_own = record.path == *path || self.0.source.id_at(&record.path).is_none();
        page.updates.push(if is_its_own {
            NameUpdate::Remove { id }
        } else {
            NameUpdate::Forget { id }
        });
        Ok(())
    }

    fn write_page(self, page: &mut Page) -> Result<(), JournalError> {
        page.ids.clear();
        let updates = std::mem::take(&mut page.updates);
        if updates.is_empty() {
            return Ok(());
        }
        if self.0.journal.update_names(updates)? {
            self.0.downstream.names_changed();
        }
        Ok(())
    }

    /// Queues a scan of a file, if it has this path now. If not, what happened to it was reported
    /// as well; and its inode number may by now be that of a new file, whose entry must keep its
    /// own path.
    fn queue_scan(self, id: FileId, path: &LibraryPath) {
        if self.0.source.id_at(path) == Some(id) {
            self.0.queue.admit(|pending, now| {
                pending.rename(id, path);
                pending.discovered(id, path, FileOrigin::Reported, now)
            });
        }
    }
}
