//! Choosing: which of the trash's photos is meant.

use std::collections::BTreeMap;

use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::TrashedPhoto;

use crate::cli::trash::is_below;

/// VersionChoice photos of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VersionChoice {
    /// The last one that was lost from each path. In a folder only where nothing stands: an edit
    /// made on purpose is not undone because somebody wants a removed photo back.
    Last,
    /// This one.
    Version(u64),
    /// What stood at each path at this time, in milliseconds since the epoch.
    AsOf { then_ms: i64 },
}

/// At most one photo for each path at or below `place`.
pub(super) fn select(
    trash: Vec<TrashedPhoto>,
    place: Option<&LibraryPath>,
    which: VersionChoice,
) -> Vec<TrashedPhoto> {
    let mut chosen: BTreeMap<LibraryPath, TrashedPhoto> = BTreeMap::new();
    for photo in trash
        .into_iter()
        .filter(|photo| is_below(&photo.path, place) && is_meant(photo, place, which))
    {
        let better = match (which, chosen.get(&photo.path)) {
            (_, None) => true,
            // The first that was lost after that moment is the one that stood then.
            (VersionChoice::AsOf { .. }, Some(known)) => photo.version < known.version,
            (VersionChoice::Last | VersionChoice::Version(_), Some(known)) => {
                photo.version > known.version
            }
        };
        if better {
            chosen.insert(photo.path.clone(), photo);
        }
    }
    chosen.into_values().collect()
}

fn is_meant(photo: &TrashedPhoto, place: Option<&LibraryPath>, which: VersionChoice) -> bool {
    match which {
        VersionChoice::Last => photo.current_version == 0 || place == Some(&photo.path),
        VersionChoice::Version(version) => photo.version == version,
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

    fn lost(at: &str, version: u64, removed_at_ms: i64, current_version: u64) -> TrashedPhoto {
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

    fn chosen(place: Option<&str>, which: VersionChoice) -> Vec<u64> {
        let trash = vec![
            lost("trip/a.jpg", 1, 100, 0),
            lost("trip/a.jpg", 4, 200, 0),
            lost("trip/b.jpg", 2, 150, 9),
            lost("tripod.jpg", 3, 160, 0),
        ];
        let place = place.map(path);
        select(trash, place.as_ref(), which)
            .into_iter()
            .map(|photo| photo.version)
            .collect()
    }

    #[test]
    fn the_last_photo_of_a_path_is_meant_and_of_a_folder_only_what_is_gone() {
        assert_eq!(chosen(Some("trip/a.jpg"), VersionChoice::Last), [4]);
        assert_eq!(
            chosen(Some("trip/b.jpg"), VersionChoice::Last),
            [2],
            "named, it is restored over what stands there"
        );
        assert_eq!(chosen(Some("trip"), VersionChoice::Last), [4]);
        assert_eq!(chosen(None, VersionChoice::Last), [4, 3]);
        assert!(chosen(Some("trip/c.jpg"), VersionChoice::Last).is_empty());
    }

    #[test]
    fn a_version_is_meant_where_it_stood() {
        assert_eq!(chosen(Some("trip/a.jpg"), VersionChoice::Version(1)), [1]);
        assert!(chosen(Some("trip/b.jpg"), VersionChoice::Version(1)).is_empty());
    }

    #[test]
    fn a_moment_means_what_stood_then() {
        assert_eq!(chosen(None, VersionChoice::AsOf { then_ms: 50 }), [1, 2, 3]);
        assert_eq!(chosen(None, VersionChoice::AsOf { then_ms: 155 }), [4, 3]);
        assert!(chosen(None, VersionChoice::AsOf { then_ms: 201 }).is_empty());
    }
}
