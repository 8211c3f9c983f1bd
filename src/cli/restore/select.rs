//! Selects the photos to restore from the trash.

use std::collections::BTreeMap;

use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::TrashedPhoto;

use crate::cli::trash::is_in_scope;

/// Which version of each photo to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VersionChoice {
    /// The version that was removed or replaced last. In a folder, only photos whose name is free:
    /// restoring removed photos should not undo intended edits of others.
    Last,
    /// The version with this number.
    Number(u64),
    /// The version that each path had at this time, in milliseconds since the epoch.
    AsOf { then_ms: i64 },
}

/// At most one photo for each path at or below `scope`.
pub(super) fn select(
    trash: Vec<TrashedPhoto>,
    scope: Option<&LibraryPath>,
    choice: VersionChoice,
) -> Vec<TrashedPhoto> {
    let mut chosen: BTreeMap<LibraryPath, TrashedPhoto> = BTreeMap::new();
    for photo in trash
        .into_iter()
        .filter(|photo| is_in_scope(&photo.path, scope) && matches(photo, scope, choice))
    {
        let better = match (choice, chosen.get(&photo.path)) {
            (_, None) => true,
            // The first one removed after that time is the one that was there then.
            (VersionChoice::AsOf { .. }, Some(known)) => photo.version < known.version,
            (VersionChoice::Last | VersionChoice::Number(_), Some(known)) => {
                photo.version > known.version
            }
        };
        if better {
            chosen.insert(photo.path.clone(), photo);
        }
    }
    chosen.into_values().collect()
}

fn matches(photo: &TrashedPhoto, scope: Option<&LibraryPath>, choice: VersionChoice) -> bool {
    match choice {
        VersionChoice::Last => photo.current_version == 0 || scope == Some(&photo.path),
        VersionChoice::Number(version) => photo.version == version,
        VersionChoice::AsOf { then_ms } => photo.removed_at_ms >= then_ms,
    }
}

#[cfg(test)]
mod tests {
    use heirloom_protocol::Fingerprint;
    use heirloom_protocol::message::LibraryPhoto;

    use super::*;

    fn path(text: &str) -> LibraryPath {
        LibraryPath::new(text).unwrap()
    }

    fn trashed(at: &str, version: u64, removed_at_ms: i64, current_version: u64) -> TrashedPhoto {
        let photo = LibraryPhoto {
            fingerprint: Fingerprint::of(b"photo"),
            size: 5,
            mtime_ns: 0,
        };
        TrashedPhoto {
            path: path(at),
            version,
            photo,
            removed_at_ms,
            current_version,
        }
    }

    fn chosen(scope: Option<&str>, choice: VersionChoice) -> Vec<u64> {
        let trash = vec![
            trashed("trip/a.jpg", 1, 100, 0),
            trashed("trip/a.jpg", 4, 200, 0),
            trashed("trip/b.jpg", 2, 150, 9),
            trashed("tripod.jpg", 3, 160, 0),
        ];
        let scope = scope.map(path);
        select(trash, scope.as_ref(), choice)
            .into_iter()
            .map(|photo| photo.version)
            .collect()
    }

    #[test]
    fn the_last_version_is_selected_and_in_a_folder_only_if_its_name_is_free() {
        assert_eq!(chosen(Some("trip/a.jpg"), VersionChoice::Last), [4]);
        assert_eq!(
            chosen(Some("trip/b.jpg"), VersionChoice::Last),
            [2],
            "a named photo is restored in place of the current one"
        );
        assert_eq!(chosen(Some("trip"), VersionChoice::Last), [4]);
        assert_eq!(chosen(None, VersionChoice::Last), [4, 3]);
        assert!(chosen(Some("trip/c.jpg"), VersionChoice::Last).is_empty());
    }

    #[test]
    fn a_version_number_selects_one_photo() {
        assert_eq!(chosen(Some("trip/a.jpg"), VersionChoice::Number(1)), [1]);
        assert!(chosen(Some("trip/b.jpg"), VersionChoice::Number(1)).is_empty());
    }

    #[test]
    fn a_time_selects_the_versions_of_that_time() {
        assert_eq!(chosen(None, VersionChoice::AsOf { then_ms: 50 }), [1, 2, 3]);
        assert_eq!(chosen(None, VersionChoice::AsOf { then_ms: 155 }), [4, 3]);
        assert!(chosen(None, VersionChoice::AsOf { then_ms: 201 }).is_empty());
    }
}
