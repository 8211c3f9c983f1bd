//! *Following names*: renames and removals seen in the mount, carried into the journal and the
//! library's outbox.
//!
//! They are followed in the order told, a page of them in one transaction. A renamed folder is
//! walked under its new name; by the time we come to that, later renames may already have happened
//! on the disk, so a file may be met where the journal does not expect it. Then its old name may
//! belong to another file already, and is moved only if nothing stands there any more.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use heirloom_protocol::LibraryPath;

use super::desk::Telling;
use super::inside::{Inside, Ledger};
use super::kind::is_sidecar;
use super::name::left_alone;
use super::notes::{Origin, rebased};
use crate::journal::{FileId, FileState, JournalError, NameUpdate};
use crate::spool::{Kind, Metadata, SpoolPath};

/// So many tellings, and about so many files, are followed in one transaction: enough that the
/// flush does not count.
const PAGE: usize = 512;

/// After names could not be followed into the journal, it is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the two names alone make a difference to whether a file is kept.
pub(super) fn judged_differently(from: &LibraryPath, to: &LibraryPath) -> bool {
    left_alone(from) != left_alone(to) || is_sidecar(from) != is_sidecar(to)
}

/// What is known of the name that a file had before.
#[derive(Clone, Copy, Debug)]
enum Before<'a> {
    /// This was it.
    Was(&'a LibraryPath),
    /// Somebody renamed it while nobody watched.
    Unknown,
    /// Another file may have it now, in exchange.
    Exchanged,
}

/// Steps that wait to be written together.
#[derive(Debug, Default)]
struct Page {
    steps: Vec<NameUpdate>,
    ids: HashSet<FileId>,
}

impl Inside {
    /// The following thread's life. When the work ends it still follows what was told.
    pub(super) fn follow_when_told(&self) {
        while self.desk.wait_for_tellings() {
            let mut ledger = self.ledger();
            if let Err(error) = self.catch_up(&mut ledger) {
                drop(ledger);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "names could not be followed; trying again"
                );
                if self.desk.is_ending() {
                    return;
                }
                self.desk.pause(RETRY);
            }
        }
    }

    /// Follows all that was told so far.
    pub(super) fn catch_up(&self, _ledger: &mut Ledger) -> Result<(), JournalError> {
        loop {
            let tellings = self.desk.take_tellings(PAGE);
            if tellings.is_empty() {
                return Ok(());
            }
            // What was followed before an error is followed again, and finds everything as it
            // should be.
            match self.follow(&tellings) {
                Ok(()) => self.desk.followed(),
                Err(error) => {
                    self.desk.give_back(tellings);
                    return Err(error);
                }
            }
        }
    }

    fn follow(&self, tellings: &[Telling]) -> Result<(), JournalError> {
        let mut page = Page::default();
        for telling in tellings {
            match telling {
                Telling::RenamedFile {
                    id,
                    from,
                    to,
                    replaced,
                } => {
                    page.steps
                        .extend(replaced.map(|id| NameUpdate::Forget { id }));
                    self.follow_file(&mut page, *id, Before::Was(from), to)?;
                }
                Telling::RenamedFolder { from, to } => self.follow_folder(&mut page, from, to)?,
                Telling::Exchanged { one, other } => {
                    self.follow_exchange(&mut page, other)?;
                    self.follow_exchange(&mut page, one)?;
                }
                Telling::Removed { id, path } => self.follow_removal(&mut page, *id, path)?,
                Telling::Found { id, path } => {
                    // It may have been renamed since the comparison met it; then that was told,
                    // too.
                    if self.stands_at(path) == Some(*id) {
                        self.follow_file(&mut page, *id, Before::Unknown, path)?;
                    }
                }
            }
        }
        self.write_page(&mut page)
    }

    /// A file has the name `to`.
    fn follow_file(
        &self,
        page: &mut Page,
        id: FileId,
        before: Before<'_>,
        to: &LibraryPath,
    ) -> Result<(), JournalError> {
        if page.ids.contains(&id) || page.steps.len() >= PAGE {
            // What follows depends on what the journal knows, so it has to know all that came
            // before.
            self.write_page(page)?;
        }
        let Some(record) = self.known(id)? else {
            self.note_where_it_stands(id, to);
            return Ok(());
        };
        if record.path == *to {
            return Ok(());
        }
        if judged_differently(&record.path, to) {
            self.note_where_it_stands(id, to);
        }
        page.ids.insert(id);
        let to = to.clone();
        page.steps.push(
            if left_alone(&record.path).is_some() || left_alone(&to).is_some() {
                NameUpdate::Rename { id, to }
            } else if self.leaves_its_name(&record.path, before)? {
                NameUpdate::Move { id, to }
            } else {
                NameUpdate::Put { id, to }
            },
        );
        Ok(())
    }

    /// Whether what the library has under a file's old name goes along with it, because it is
    /// nobody else's by now.
    fn leaves_its_name(&self, old: &LibraryPath, before: Before<'_>) -> Result<bool, JournalError> {
        if let Before::Was(from) = before
            && from == old
        {
            return Ok(true);
        }
        let Some(other) = self.stands_at(old) else {
            return Ok(true);
        };
        match before {
            Before::Was(_) | Before::Unknown => Ok(false),
            // One that is not backed up puts its own name there later, if it ever is; one that is,
            // does so in the same page.
            Before::Exchanged => {
                let other = self.known(other)?;
                Ok(!other.is_some_and(|it| matches!(it.state, FileState::BackedUp { .. })))
            }
        }
    }

    fn follow_folder(
        &self,
        page: &mut Page,
        from: &LibraryPath,
        to: &LibraryPath,
    ) -> Result<(), JournalError> {
        self.follow_below(to, |id, path| {
            let old = rebased(path, to, from);
            self.follow_file(
                page,
                id,
                old.as_ref().map_or(Before::Unknown, Before::Was),
                path,
            )
        })
    }

    /// What stands at `to` now, file or folder, came there by an exchange.
    fn follow_exchange(&self, page: &mut Page, to: &LibraryPath) -> Result<(), JournalError> {
        match self.spool.metadata(&SpoolPath::Entry(to.clone())) {
            Ok(Metadata {
                kind: Kind::File,
                id,
                ..
            }) => self.follow_file(page, id, Before::Exchanged, to),
            Ok(Metadata {
                kind: Kind::Folder, ..
            }) => self.follow_below(to, |id, path| {
                self.follow_file(page, id, Before::Exchanged, path)
            }),
            // Gone, or something else's name by now: that was told as well, and comes later.
            Ok(Metadata {
                kind: Kind::Link | Kind::Special,
                ..
            })
            | Err(_) => Ok(()),
        }
    }

    fn follow_below(
        &self,
        folder: &LibraryPath,
        mut follow: impl FnMut(FileId, &LibraryPath) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut failed = None;
        self.spool
            .walk_below(SpoolPath::Entry(folder.clone()), &mut |met| {
                let followed = match met {
                    Ok((path, id, _)) => follow(id, &path),
                    // Renamed again, or removed: that was told as well, and comes later.
                    Err(error) if error.is_missing() => Ok(()),
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a renamed folder could not be read"
                        );
                        Ok(())
                    }
                };
                failed = followed.err();
                if failed.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        failed.map_or(Ok(()), Err)
    }

    fn follow_removal(
        &self,
        page: &mut Page,
        id: FileId,
        path: &LibraryPath,
    ) -> Result<(), JournalError> {
        if page.ids.contains(&id) {
            self.write_page(page)?;
        }
        let Some(record) = self.known(id)? else {
            return Ok(());
        };
        page.ids.insert(id);
        // Where the journal is behind, its name for this file may be another file's by now.
        let is_its_own = record.path == *path || self.stands_at(&record.path).is_none();
        page.steps.push(if is_its_own {
            NameUpdate::Remove { id }
        } else {
            NameUpdate::Forget { id }
        });
        Ok(())
    }

    fn write_page(&self, page: &mut Page) -> Result<(), JournalError> {
        page.ids.clear();
        let steps = std::mem::take(&mut page.steps);
        if steps.is_empty() {
            return Ok(());
        }
        self.journal.update_names(steps)?;
        if self.journal.names_queued() > 0 {
            self.neighbours.names_changed();
        }
        Ok(())
    }

    /// Which file has this name now. Nothing also if it cannot be told; then nothing is claimed of
    /// it.
    pub(super) fn stands_at(&self, path: &LibraryPath) -> Option<FileId> {
        self.spool
            .metadata(&SpoolPath::Entry(path.clone()))
            .ok()
            .map(|facts| facts.id)
    }

    /// The file needs a look. Only where it stands now: if it is not at `path` any more, what
    /// happened to it was told as well; and its number may by now be that of a new file, whose note
    /// must not be led astray.
    fn note_where_it_stands(&self, id: FileId, path: &LibraryPath) {
        if self.stands_at(path) == Some(id) {
            self.desk.note(|notes, now| {
                notes.rename(id, path);
                notes.find(id, path, Origin::Told, now)
            });
        }
    }
}
