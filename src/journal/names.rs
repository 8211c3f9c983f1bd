//! Names: what the library on the server is to hear of them, and what it has confirmed.

use std::collections::{BTreeSet, HashSet};

use heirloom_protocol::LibraryPath;
use redb::ReadableTable as _;

use super::entry::{FileRecord, FileState, NameChange, NameUpdate, RemoteChanges};
use super::error::Fault;
use super::tables::Tables;
use super::{look, record};

/// The key of the one entry: the library that sync list, versions and outbox are about.
const LIBRARY: &str = "library";
/// The sequence number of the next change of names. Never used twice: a late confirmation of one
/// change must not take another out of the outbox.
const NEXT_NAME: &str = "next_name";

/// Up to where the change feed was followed.
pub(super) const FEED: &str = "feed";

/// Files that are looked at together when the library changes: bounds the memory for it.
const BIND_PAGE: usize = 1000;

/// What [`Tables::bind`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The journal was about no library yet.
    First,
    /// It is about this one.
    Same,
    /// It was about another one, and began anew for this one.
    Other,
}

/// The version of a name that is on its way to the library. Real ones begin with 1.
const UNCONFIRMED: u64 = 0;

/// A version that the server has confirmed.
pub(super) fn confirmed(version: u64) -> Option<u64> {
    (version != UNCONFIRMED).then_some(version)
}

impl Tables<'_> {
    /// Follows one change of a name; answers what was known of the file before. A record that
    /// cannot be read counts as none.
    pub(super) fn update_name(&mut self, step: &NameUpdate) -> Result<Option<FileRecord>, Fault> {
        let known = match look::file(&self.files, step.id()) {
            Err(Fault::Record { .. }) => None,
            found => found?.map(|it| it.record),
        };
        if let Some(record) = &known
            && let Some(change) = self.change_for_library(step, record)?
        {
            self.queue_name(&change)?;
        }
        match step {
            NameUpdate::Forget { id } | NameUpdate::Remove { id } => self.forget(*id)?,
            NameUpdate::Rename { id, to }
            | NameUpdate::Move { id, to }
            | NameUpdate::Put { id, to }
                if known.is_some() =>
            {
                self.rename(*id, to)?;
            }
            NameUpdate::Rename { .. } | NameUpdate::Move { .. } | NameUpdate::Put { .. } => {}
        }
        Ok(known)
    }

    /// What the library has to hear of a step. Of a photo that changed since it was backed up, it
    /// knows the name still.
    fn change_for_library(
        &self,
        step: &NameUpdate,
        record: &FileRecord,
    ) -> Result<Option<NameChange>, Fault> {
        let backed_up = matches!(
            record.state,
            FileState::BackedUp { .. } | FileState::Placeholder { .. }
        );
        let in_library = backed_up || self.versions.get(record.path.as_str())?.is_some();
        Ok(match (step, &record.state) {
            (NameUpdate::Move { to, .. }, _) if in_library && *to != record.path => {
                Some(NameChange::Move {
                    from: record.path.clone(),
                    to: to.clone(),
                })
            }
            (NameUpdate::Remove { .. }, _) if in_library => Some(NameChange::Remove {
                path: record.path.clone(),
            }),
            (
                NameUpdate::Put { to, .. },
                FileState::BackedUp { fingerprint } | FileState::Placeholder { fingerprint },
            ) => {
                let (fingerprint, mtime_ns) = (*fingerprint, record.stamp.mtime_ns);
                Some(NameChange::Put {
                    path: to.clone(),
                    fingerprint,
                    mtime_ns,
                })
            }
            (
                NameUpdate::Move { .. }
                | NameUpdate::Put { .. }
                | NameUpdate::Remove { .. }
                | NameUpdate::Rename { .. }
                | NameUpdate::Forget { .. },
                _,
            ) => None,
        })
    }

    /// Puts a change into the outbox. The name that it makes is in the library from now on, for
    /// whoever renames or removes its file before the server has confirmed it: else the name would
    /// come to the library after the file has left it, and stay.
    pub(super) fn queue_name(&mut self, change: &NameChange) -> Result<(), Fault> {
        if let NameChange::Put { path, .. } | NameChange::Move { to: path, .. } = change {
            let is_new = self.versions.get(path.as_str())?.is_none();
            if is_new {
                self.versions.insert(path.as_str(), UNCONFIRMED)?;
            }
        }
        let sequence = self.counters.get(NEXT_NAME)?.map_or(0, |next| next.value());
        self.counters.insert(NEXT_NAME, sequence + 1)?;
        self.names
            .insert(sequence, record::encode_change(change).as_slice())?;
        self.counts.names += 1;
        Ok(())
    }

    pub(super) fn confirm_name(&mut self, sequence: u64) -> Result<(), Fault> {
        if self.names.remove(sequence)?.is_some() {
            self.counts.names = self.counts.names.saturating_sub(1);
        }
        Ok(())
    }

    /// What the server confirmed of these paths; none: nothing stands there. What is still on its
    /// way there keeps its mark.
    pub(super) fn set_versions(
        &mut self,
        versions: &[(LibraryPath, Option<u64>)],
    ) -> Result<(), Fault> {
        for (path, version) in versions {
            match version {
                Some(version) => self.versions.insert(path.as_str(), version)?,
                None => self.versions.remove(path.as_str())?,
            };
        }
        let gone: HashSet<_> = versions
            .iter()
            .filter(|(_, version)| version.is_none())
            .map(|(path, _)| path)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        for entry in self.names.iter()? {
            let change = record::decode_change(entry?.1.value());
            if let Ok(NameChange::Put { path, .. } | NameChange::Move { to: path, .. }) = change
                && gone.contains(&path)
                && self.versions.get(path.as_str())?.is_none()
            {
                self.versions.insert(path.as_str(), UNCONFIRMED)?;
            }
        }
        Ok(())
    }

    /// Moves on in the change feed, over changes of our own.
    pub(super) fn skip_own_changes(&mut self, ours: &BTreeSet<u64>) -> Result<(), Fault> {
        let position = self
            .counters
            .get(FEED)?
            .map_or(0, |position| position.value());
        let behind = ours
            .range(position.saturating_add(1)..)
            .zip(position.saturating_add(1)..);
        let passed = behind.take_while(|(ours, next)| *ours == next).last();
        if let Some((passed, _)) = passed {
            self.counters.insert(FEED, *passed)?;
        }
        Ok(())
    }

    /// Enters what a page of the change feed brought.
    pub(super) fn add_remote(&mut self, arrived: &RemoteChanges) -> Result<(), Fault> {
        arrived
            .forgotten
            .iter()
            .try_for_each(|id| self.forget(*id))?;
        arrived
            .records
            .iter()
            .try_for_each(|(id, file)| self.record(*id, file))?;
        self.set_versions(&arrived.versions)?;
        arrived
            .puts
            .iter()
            .try_for_each(|change| self.queue_name(change))?;
        self.counters.insert(FEED, arrived.position)?;
        Ok(())
    }

    /// From now on this journal is about `library`. What another one said before is forgotten.
    pub(super) fn bind_server(&mut self, library: &str) -> Result<BindOutcome, Fault> {
        let before = self
            .bound
            .insert(LIBRARY, library)?
            .map(|before| before.value().to_owned());
        match before {
            None => Ok(BindOutcome::First),
            Some(before) if before == library => Ok(BindOutcome::Same),
            Some(_) => self.begin_anew().map(|()| BindOutcome::Other),
        }
    }

    /// Forgets all that a server said, and promises anew everything that was backed up there.
    fn begin_anew(&mut self) -> Result<(), Fault> {
        self.receipts.retain(|_, _| false)?;
        self.shards.retain(|_, _| false)?;
        self.versions.retain(|_, _| false)?;
        self.names.retain(|_, _| false)?;
        self.counters.remove(FEED)?;
        self.counts.names = 0;
        let mut from = Some(0);
        while let Some(first) = from {
            let page = look::files_from(&self.files, first, BIND_PAGE)?;
            from = page.last().and_then(|(last, _)| last.0.checked_add(1));
            for (id, file) in page {
                if let FileState::BackedUp { fingerprint } = file.state {
                    self.record(
                        id,
                        &FileRecord {
                            state: FileState::Pending { fingerprint },
                            ..file
                        },
                    )?;
                }
            }
        }
        Ok(())
    }
}
