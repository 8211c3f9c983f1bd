//! Changes of names: outbox, confirmed versions, change feed and server binding.

use std::collections::{BTreeSet, HashSet};

use heirloom_protocol::LibraryPath;
use redb::ReadableTable as _;

use super::Tables;
use crate::journal::entry::{
    BindOutcome, FileRecord, FileState, NameChange, NameUpdate, RemoteChanges,
};
use crate::journal::error::QueryError;
use crate::journal::schema::{FEED_KEY, LIBRARY_KEY, NEXT_NAME_KEY, UNCONFIRMED};
use crate::journal::{queries, record};

/// Records read at a time when the library changes: bounds the memory for it.
const BIND_PAGE: usize = 1000;

impl Tables<'_> {
    /// Applies one rename or removal. Returns the record of the file before; one that cannot be
    /// read counts as none.
    pub(in crate::journal) fn update_name(
        &mut self,
        update: &NameUpdate,
    ) -> Result<Option<FileRecord>, QueryError> {
        let known = match queries::file(&self.files, update.id()) {
            Err(QueryError::Record { .. }) => None,
            found => found?.map(|it| it.record),
        };
        if let Some(record) = &known
            && let Some(change) = self.change_for_library(update, record)?
        {
            self.queue_name(&change)?;
        }
        match update {
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

    /// The change of the library that a rename or removal leads to. The library still has the name
    /// of a photo that changed since it was backed up.
    fn change_for_library(
        &self,
        update: &NameUpdate,
        record: &FileRecord,
    ) -> Result<Option<NameChange>, QueryError> {
        let backed_up = matches!(
            record.state,
            FileState::BackedUp { .. } | FileState::Placeholder { .. }
        );
        let in_library = backed_up || self.versions.get(record.path.as_str())?.is_some();
        Ok(match (update, &record.state) {
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

    /// Puts a change into the outbox. Its new name counts as being in the library from now on, so
    /// that a rename or removal of the file before the server's confirmation is sent as well.
    /// Otherwise the name would reach the library after the file has left it, and stay.
    pub(in crate::journal) fn queue_name(&mut self, change: &NameChange) -> Result<(), QueryError> {
        if let NameChange::Put { path, .. } | NameChange::Move { to: path, .. } = change {
            let is_new = self.versions.get(path.as_str())?.is_none();
            if is_new {
                self.versions.insert(path.as_str(), UNCONFIRMED)?;
            }
        }
        let sequence = self
            .counters
            .get(NEXT_NAME_KEY)?
            .map_or(0, |next| next.value());
        self.counters.insert(NEXT_NAME_KEY, sequence + 1)?;
        self.names
            .insert(sequence, record::encode_change(change).as_slice())?;
        self.counts.names += 1;
        Ok(())
    }

    pub(in crate::journal) fn confirm_name(&mut self, sequence: u64) -> Result<(), QueryError> {
        if self.names.remove(sequence)?.is_some() {
            self.counts.names = self.counts.names.saturating_sub(1);
        }
        Ok(())
    }

    /// Records the versions that the server confirmed for paths; `None`: the path does not exist. A
    /// name that is still on its way keeps its entry.
    pub(in crate::journal) fn set_versions(
        &mut self,
        versions: &[(LibraryPath, Option<u64>)],
    ) -> Result<(), QueryError> {
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

    /// Advances the feed position over changes of our own that follow it directly.
    pub(in crate::journal) fn skip_own_changes(
        &mut self,
        ours: &BTreeSet<u64>,
    ) -> Result<(), QueryError> {
        let position = self
            .counters
            .get(FEED_KEY)?
            .map_or(0, |position| position.value());
        let following = ours
            .range(position.saturating_add(1)..)
            .zip(position.saturating_add(1)..);
        let passed = following.take_while(|(ours, next)| *ours == next).last();
        if let Some((passed, _)) = passed {
            self.counters.insert(FEED_KEY, *passed)?;
        }
        Ok(())
    }

    /// Records what a page of the change feed brought.
    pub(in crate::journal) fn add_remote(
        &mut self,
        remote: &RemoteChanges,
    ) -> Result<(), QueryError> {
        remote
            .forgotten
            .iter()
            .try_for_each(|id| self.forget(*id))?;
        remote
            .records
            .iter()
            .try_for_each(|(id, file)| self.record(*id, file))?;
        self.set_versions(&remote.versions)?;
        remote
            .puts
            .iter()
            .try_for_each(|change| self.queue_name(change))?;
        self.counters.insert(FEED_KEY, remote.position)?;
        Ok(())
    }

    /// Binds the journal to `library`, and forgets everything about another one.
    pub(in crate::journal) fn bind_server(
        &mut self,
        library: &str,
    ) -> Result<BindOutcome, QueryError> {
        let before = self
            .bound
            .insert(LIBRARY_KEY, library)?
            .map(|before| before.value().to_owned());
        match before {
            None => Ok(BindOutcome::First),
            Some(before) if before == library => Ok(BindOutcome::Same),
            Some(_) => self.reset_server_state().map(|()| BindOutcome::Other),
        }
    }

    /// Forgets everything a server confirmed, and makes all that was backed up there pending again.
    fn reset_server_state(&mut self) -> Result<(), QueryError> {
        self.receipts.retain(|_, _| false)?;
        self.shards.retain(|_, _| false)?;
        self.versions.retain(|_, _| false)?;
        self.names.retain(|_, _| false)?;
        self.counters.remove(FEED_KEY)?;
        self.counts.names = 0;
        let mut from = Some(0);
        while let Some(first) = from {
            let page = queries::files_from(&self.files, first, BIND_PAGE)?;
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
