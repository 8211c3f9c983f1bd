//! Durable names. A file that was fsynced and whose folder was not may be gone after a power cut,
//! name and all (`fsync(2)`). So before a file is queued for upload, its folder is fsynced, and
//! every folder above it up to the root the first time.

use std::collections::{BTreeSet, HashMap};
use std::io;

use heirloom_protocol::LibraryPath;
use parking_lot::Mutex;

use super::source::{FolderIdentity, Source};
use crate::spool::SpoolPath;

/// Folders remembered at most; then all are forgotten, at the price of a few more fsyncs.
const REMEMBERED_MAX: usize = 16_384;

/// Makes names durable, and remembers the folders for which it did.
#[derive(Debug, Default)]
pub(super) struct FolderSync {
    /// Folders whose own name, and the names of those above, are durable. A folder of the same name
    /// that was created later has another identity.
    durable: Mutex<HashMap<LibraryPath, FolderIdentity>>,
}

impl FolderSync {
    /// Makes the names in `folders` durable (`None` is the root itself), each folder once. Returns
    /// those for which that failed.
    pub(super) fn make_durable<'a>(
        &self,
        source: &dyn Source,
        folders: impl IntoIterator<Item = Option<&'a LibraryPath>>,
    ) -> HashMap<Option<LibraryPath>, io::Error> {
        let folders: BTreeSet<Option<&LibraryPath>> = folders.into_iter().collect();
        let mut failed = HashMap::new();
        let mut synced = BTreeSet::new();
        for folder in folders {
            if let Err(error) = self.make_chain_durable(source, folder.cloned(), &mut synced) {
                failed.insert(folder.cloned(), error);
            }
        }
        failed
    }

    /// Forgets all folders, because some have other names now.
    pub(super) fn forget(&self) {
        self.durable.lock().clear();
    }

    fn make_chain_durable(
        &self,
        source: &dyn Source,
        folder: Option<LibraryPath>,
        synced: &mut BTreeSet<Option<LibraryPath>>,
    ) -> io::Result<()> {
        sync_once(source, folder.as_ref(), synced)?;
        let mut found = Vec::new();
        let mut below = folder;
        while let Some(path) = below {
            // Looked up before the fsync: a folder created under this name afterwards is another
            // one.
            let identity = source.folder_identity(&path)?;
            if identity.is_some() && self.remembered(&path) == identity {
                break;
            }
            below = path.parent();
            sync_once(source, below.as_ref(), synced)?;
            found.extend(identity.map(|identity| (path, identity)));
        }
        self.remember(found);
        Ok(())
    }

    fn remembered(&self, path: &LibraryPath) -> Option<FolderIdentity> {
        self.durable.lock().get(path).copied()
    }

    fn remember(&self, found: Vec<(LibraryPath, FolderIdentity)>) {
        let mut durable = self.durable.lock();
        if durable.len() + found.len() > REMEMBERED_MAX {
            durable.clear();
        }
        durable.extend(found);
    }
}

fn sync_once(
    source: &dyn Source,
    folder: Option<&LibraryPath>,
    synced: &mut BTreeSet<Option<LibraryPath>>,
) -> io::Result<()> {
    let folder = folder.cloned();
    if !synced.contains(&folder) {
        let path = folder.clone().map_or(SpoolPath::Root, SpoolPath::Entry);
        source.sync_folder(&path).map_err(|error| error.source)?;
        synced.insert(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::spool::Spool;

    fn path(text: &str) -> LibraryPath {
        LibraryPath::new(text).unwrap()
    }

    fn synced(folders: &FolderSync, root: &Path, folder: &str) -> Vec<String> {
        let (source, mut synced) = (Spool::open(root).unwrap(), BTreeSet::new());
        folders
            .make_chain_durable(&source, Some(path(folder)), &mut synced)
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
        let folders = FolderSync::default();
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
    fn a_folder_created_again_is_another_folder() {
        let root = tempfile::tempdir().unwrap();
        let folders = FolderSync::default();
        for _ in 0..3 {
            fs::create_dir(root.path().join("a")).unwrap();
            assert_eq!(synced(&folders, root.path(), "a"), ["/", "a"]);
            fs::remove_dir(root.path().join("a")).unwrap();
        }
    }

    #[test]
    fn a_missing_folder_fails_only_for_itself() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        let (a, b) = (path("a"), path("b"));
        let failed = FolderSync::default().make_durable(
            &Spool::open(root.path()).unwrap(),
            [None, Some(&a), Some(&b)],
        );
        assert_eq!(failed.into_keys().collect::<Vec<_>>(), [Some(b)]);
    }
}
