//! *Folders on disk*: a file that was fsynced and whose folder was not may be gone after a power
//! cut, name and all (`fsync(2)`). So before a promise, the folder is fsynced, and every folder
//! above it up to the spool's root the first time it is met.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use heirloom_protocol::LibraryPath;

use crate::spool::{Spool, SpoolPath};

/// So many folders are remembered; then the memory starts anew, at the price of a few more fsyncs.
const REMEMBERED_MAX: usize = 16_384;

/// Which folder this is: one of the same name made after this one was deleted has another number or
/// another birth.
type Identity = (u64, SystemTime);

/// Makes names durable, and remembers of which folders it did.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Folders whose own name, and the names of those above, are on the disk.
    named: Mutex<HashMap<LibraryPath, Identity>>,
}

impl Folders {
    /// Makes the names in `folders` durable (`None` is the root itself), each folder once.
    /// Answers for which of them it failed.
    pub(super) fn make_durable<'a>(
        &self,
        spool: &Spool,
        folders: impl IntoIterator<Item = Option<&'a LibraryPath>>,
    ) -> HashMap<Option<LibraryPath>, io::Error> {
        let folders: BTreeSet<Option<&LibraryPath>> = folders.into_iter().collect();
        let mut failed = HashMap::new();
        let mut synced = BTreeSet::new();
        for folder in folders {
            if let Err(error) = self.make_chain_durable(spool, folder.cloned(), &mut synced) {
                failed.insert(folder.cloned(), error);
            }
        }
        failed
    }

    /// Forgets all: folders have other names now.
    pub(super) fn forget(&self) {
        self.named
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn make_chain_durable(
        &self,
        spool: &Spool,
        folder: Option<LibraryPath>,
        synced: &mut BTreeSet<Option<LibraryPath>>,
    ) -> io::Result<()> {
        sync_once(spool, folder.as_ref(), synced)?;
        let mut found = Vec::new();
        let mut below = folder;
        while let Some(path) = below {
            // Looked up before the fsync: what is made under this name afterwards is another
            // folder.
            let identity = identity(spool, &path)?;
            if identity.is_some() && self.remembered(&path) == identity {
                break;
            }
            below = path.parent();
            sync_once(spool, below.as_ref(), synced)?;
            found.extend(identity.map(|identity| (path, identity)));
        }
        self.remember(found);
        Ok(())
    }

    fn remembered(&self, path: &LibraryPath) -> Option<Identity> {
        self.named
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .copied()
    }

    fn remember(&self, found: Vec<(LibraryPath, Identity)>) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() + found.len() > REMEMBERED_MAX {
            named.clear();
        }
        named.extend(found);
    }
}

/// Nothing where the disk does not tell when a folder was made; then it is not remembered either.
fn identity(spool: &Spool, folder: &LibraryPath) -> io::Result<Option<Identity>> {
    let held = spool
        .open_path(&SpoolPath::Entry(folder.clone()))
        .map_err(|error| error.source)?;
    let metadata = File::from(held).metadata()?;
    Ok(metadata.created().ok().map(|born| (metadata.ino(), born)))
}

fn sync_once(
    spool: &Spool,
    folder: Option<&LibraryPath>,
    synced: &mut BTreeSet<Option<LibraryPath>>,
) -> io::Result<()> {
    let folder = folder.cloned();
    if !synced.contains(&folder) {
        let place = folder.clone().map_or(SpoolPath::Root, SpoolPath::Entry);
        spool.sync_folder(&place).map_err(|error| error.source)?;
        synced.insert(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn path(text: &str) -> LibraryPath {
        LibraryPath::new(text).unwrap()
    }

    fn synced(folders: &Folders, root: &Path, folder: &str) -> Vec<String> {
        let (spool, mut synced) = (Spool::open(root).unwrap(), BTreeSet::new());
        folders
            .make_chain_durable(&spool, Some(path(folder)), &mut synced)
            .unwrap();
        synced
            .into_iter()
            .map(|it| it.map_or_else(|| "/".to_owned(), |it| it.to_string()))
            .collect()
    }

    #[test]
    fn the_names_of_all_folders_above_are_made_durable_once() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        let folders = Folders::default();
        assert_eq!(
            synced(&folders, root.path(), "a/b/c"),
            ["/", "a", "a/b", "a/b/c"]
        );
        assert_eq!(synced(&folders, root.path(), "a/b/c"), ["a/b/c"]);
        fs::create_dir(root.path().join("a/d")).unwrap();
        assert_eq!(synced(&folders, root.path(), "a/d"), ["a", "a/d"]);
        folders.forget();
        assert_eq!(synced(&folders, root.path(), "a/d"), ["/", "a", "a/d"]);
    }

    #[test]
    fn a_folder_made_again_is_another_folder() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::default();
        for _ in 0..3 {
            fs::create_dir(root.path().join("a")).unwrap();
            assert_eq!(synced(&folders, root.path(), "a"), ["/", "a"]);
            fs::remove_dir(root.path().join("a")).unwrap();
        }
    }

    #[test]
    fn a_folder_that_is_gone_fails_for_itself_only() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        let (a, b) = (path("a"), path("b"));
        let failed = Folders::default().make_durable(
            &Spool::open(root.path()).unwrap(),
            [None, Some(&a), Some(&b)],
        );
        assert_eq!(failed.into_keys().collect::<Vec<_>>(), [Some(b)]);
    }
}
