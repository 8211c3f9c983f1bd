//! The interface between the ledger's decisions and the storage of libraries.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use heirloom_protocol::message::{LibraryChange, LibraryFeed, LibraryOutcome};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, LibraryPath};

use super::super::error::IndexError;
use super::ledger::{AllowedChanges, Ledger, PathState};

/// Storage of libraries, inside one transaction.
#[async_trait]
pub(super) trait LibraryStore: Send {
    /// The user's count of changes. Locks the user's library, so that two servers do not assign the
    /// same version. `NoSuchUser` if there is no such user.
    async fn lock_version(&mut self, user: UserId) -> Result<u64, IndexError>;
    /// The states of those of `paths` that ever had a photo.
    async fn path_states(
        &mut self,
        user: UserId,
        paths: &[&LibraryPath],
    ) -> Result<HashMap<LibraryPath, PathState>, IndexError>;
    /// The lengths in bytes of those of `fingerprints` that the user holds.
    async fn held_sizes(
        &mut self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, u64>, IndexError>;
    /// Saves the version, the changed paths and the new trash of a ledger.
    async fn save(&mut self, user: UserId, ledger: &Ledger) -> Result<(), IndexError>;
    /// The change feed after the version `since`, at most `limit` entries.
    async fn changes_since(
        &mut self,
        user: UserId,
        since: u64,
        limit: usize,
    ) -> Result<LibraryFeed, IndexError>;
}

/// Applies changes to a user's library in order, each on its own, and saves the result.
pub(super) async fn apply_changes(
    store: &mut impl LibraryStore,
    user: UserId,
    allowed: AllowedChanges,
    changes: &[LibraryChange],
) -> Result<Vec<LibraryOutcome>, IndexError> {
    let mut ledger = load(store, user, allowed, changes).await?;
    let version = ledger.version;
    let outcomes = changes.iter().map(|change| ledger.apply(change)).collect();
    if ledger.version != version {
        store.save(user, &ledger).await?;
    }
    Ok(outcomes)
}

/// Loads the part of the library that the changes concern.
async fn load(
    store: &mut impl LibraryStore,
    user: UserId,
    allowed: AllowedChanges,
    changes: &[LibraryChange],
) -> Result<Ledger, IndexError> {
    let version = store.lock_version(user).await?;
    let (mut paths, mut fingerprints) = (BTreeSet::new(), BTreeSet::new());
    for change in changes {
        match change {
            LibraryChange::Put {
                path, fingerprint, ..
            } => {
                paths.insert(path);
                fingerprints.insert(*fingerprint);
            }
            LibraryChange::Move { from, to, .. } => paths.extend([from, to]),
            LibraryChange::Remove { path, .. } => {
                paths.insert(path);
            }
        }
    }
    Ok(Ledger {
        version,
        allowed,
        paths: store.path_states(user, &Vec::from_iter(paths)).await?,
        held: store
            .held_sizes(user, &Vec::from_iter(fingerprints))
            .await?,
        ..Ledger::default()
    })
}
