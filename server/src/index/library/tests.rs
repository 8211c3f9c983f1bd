//! The contract of [`LibraryStore`]: libraries in memory and in SQL give the same results.

use std::collections::{BTreeMap, HashMap};

use heirloom_protocol::message::{LibraryEntry, LibraryPhoto};
use heirloom_protocol::{Fingerprint, LibraryPath};

use super::ledger::{Ledger, PathState, TrashedPhoto};
use super::store::LibraryStore;
use super::*;
use crate::config::DataDir;

/// Libraries in memory.
#[derive(Default)]
struct MemoryLibrary {
    users: HashMap<UserId, MemoryUser>,
}

#[derive(Default)]
struct MemoryUser {
    version: u64,
    held: HashMap<Fingerprint, u64>,
    paths: BTreeMap<LibraryPath, PathState>,
    trash: Vec<TrashedPhoto>,
}

impl MemoryLibrary {
    fn user(&mut self, user: UserId) -> Result<&mut MemoryUser, IndexError> {
        self.users
            .get_mut(&user)
            .ok_or(IndexError::NoSuchUser(user))
    }
}

#[async_trait]
impl LibraryStore for MemoryLibrary {
    async fn lock_version(&mut self, user: UserId) -> Result<u64, IndexError> {
        Ok(self.user(user)?.version)
    }

    async fn path_states(
        &mut self,
        user: UserId,
        paths: &[&LibraryPath],
    ) -> Result<HashMap<LibraryPath, PathState>, IndexError> {
        let known = &self.user(user)?.paths;
        let found = paths
            .iter()
            .filter_map(|path| known.get(path).map(|state| ((*path).clone(), *state)));
        Ok(found.collect())
    }

    async fn held_sizes(
        &mut self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, u64>, IndexError> {
        let held = &self.user(user)?.held;
        let found = fingerprints
            .iter()
            .filter_map(|image| held.get(image).map(|size| (*image, *size)));
        Ok(found.collect())
    }

    async fn save(&mut self, user: UserId, ledger: &Ledger) -> Result<(), IndexError> {
        let user = self.user(user)?;
        user.version = ledger.version;
        let changed = ledger
            .changed
            .iter()
            .map(|path| (path.clone(), ledger.paths[path]));
        user.paths.extend(changed);
        user.trash.extend(ledger.trash.iter().cloned());
        Ok(())
    }

    async fn changes_since(
        &mut self,
        user: UserId,
        since: u64,
        limit: usize,
    ) -> Result<LibraryFeed, IndexError> {
        let entry = |(path, state): (&LibraryPath, &PathState)| LibraryEntry {
            version: state.version,
            path: path.clone(),
            photo: state.photo,
        };
        let mut entries: Vec<_> = self.user(user)?.paths.iter().map(entry).collect();
        entries.retain(|entry| entry.version > since);
        entries.sort_by_key(|entry| entry.version);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().map_or(since, |entry| entry.version);
        Ok(LibraryFeed {
            entries,
            next,
            more,
            wanted: 0,
        })
    }
}

/// How many batches of changes are compared.
const BATCHES: usize = 100;

/// Images 0 to 3 are held, images 4 and 5 are not.
const HELD: u8 = 4;

fn image(number: u8) -> Fingerprint {
    Fingerprint::of(&[number])
}

fn path(random: &mut fastrand::Rng) -> LibraryPath {
    LibraryPath::new(["a", "b", "c/d", "e"][random.usize(..4)]).unwrap()
}

/// A change that is mostly based on the present state.
fn change(random: &mut fastrand::Rng, user: &MemoryUser) -> LibraryChange {
    let at = path(random);
    let base = match random.u8(..4) {
        0 => random.u64(..=user.version + 1),
        _ => user.paths.get(&at).map_or(0, |state| state.version),
    };
    match random.u8(..4) {
        0 => LibraryChange::Move {
            from: at,
            to: path(random),
            base,
        },
        1 => LibraryChange::Remove { path: at, base },
        _ => LibraryChange::Put {
            path: at,
            fingerprint: image(random.u8(..6)),
            mtime_ns: random.i64(..2),
            base,
        },
    }
}

#[tokio::test]
async fn libraries_in_memory_and_in_sql_are_equal() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(&folder.path().join("data")).unwrap();
    let index = Index::open(&data.index_url()).await.unwrap();
    let anna = index.add_user("anna").await.unwrap();
    let mut memory = MemoryLibrary::default();
    let held = memory.users.entry(anna).or_default();
    for number in 0..HELD {
        let size = u64::from(number) + 1;
        index.add_holding(anna, image(number), size).await.unwrap();
        held.held.insert(image(number), size);
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..BATCHES {
        let user = &memory.users[&anna];
        let changes: Vec<_> = (0..random.usize(1..6))
            .map(|_| change(&mut random, user))
            .collect();
        let (allowed, in_sql) = if random.u8(..4) == 0 {
            let outcomes = index.add_to_library(anna, changes.clone()).await;
            (AllowedChanges::AddOnly, outcomes)
        } else {
            let outcomes = index.change_library(anna, changes.clone()).await;
            (AllowedChanges::All, outcomes)
        };
        let in_memory = apply_changes(&mut memory, anna, allowed, &changes).await;
        assert_eq!(in_memory.unwrap(), in_sql.unwrap(), "{changes:?}");
        let since = random.u64(..=memory.users[&anna].version);
        assert_eq!(
            memory.changes_since(anna, since, 3).await.unwrap(),
            index.library_changes(anna, since, 3).await.unwrap()
        );
    }
    let mut trashed: Vec<(u64, LibraryPath, LibraryPhoto)> = memory.users[&anna]
        .trash
        .iter()
        .map(|trashed| (trashed.version, trashed.path.clone(), trashed.photo))
        .collect();
    trashed.sort_by_key(|(version, ..)| *version);
    let in_sql = index.trash(anna, 0, usize::MAX).await.unwrap();
    let in_sql: Vec<_> = in_sql
        .photos
        .into_iter()
        .map(|trashed| (trashed.version, trashed.path, trashed.photo))
        .collect();
    assert!(!trashed.is_empty(), "the changes replaced something");
    assert_eq!(trashed, in_sql);
}

#[tokio::test]
async fn a_library_needs_a_user() {
    let nobody = UserId(7);
    let mut memory = MemoryLibrary::default();
    let changed = apply_changes(&mut memory, nobody, AllowedChanges::All, &[]).await;
    assert!(matches!(changed, Err(IndexError::NoSuchUser(user)) if user == nobody));
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(&folder.path().join("data")).unwrap();
    let index = Index::open(&data.index_url()).await.unwrap();
    let changed = index.change_library(nobody, Vec::new()).await;
    assert!(matches!(changed, Err(IndexError::NoSuchUser(user)) if user == nobody));
}
