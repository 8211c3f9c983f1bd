//! Properties of any changes in any order. Examples are in the contract suite of the index.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn path() -> impl Strategy<Value = LibraryPath> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(|path| LibraryPath::new(path).unwrap())
}

fn image(number: u8) -> Fingerprint {
    Fingerprint::of(&[number])
}

fn change() -> impl Strategy<Value = LibraryChange> {
    let base = || 0_u64..12;
    prop_oneof![
        3 => (path(), 0_u8..4, 0_i64..2, base()).prop_map(|(path, number, mtime_ns, base)| {
            LibraryChange::Put { path, fingerprint: image(number), mtime_ns, base }
        }),
        2 => (path(), path(), base())
            .prop_map(|(from, to, base)| LibraryChange::Move { from, to, base }),
        1 => (path(), base()).prop_map(|(path, base)| LibraryChange::Remove { path, base }),
    ]
}

/// The same change with the current version as its base.
fn up_to_date(ledger: &Ledger, mut change: LibraryChange) -> LibraryChange {
    let version = |path: &LibraryPath| ledger.current(path).map_or(0, |(version, _)| version);
    match &mut change {
        LibraryChange::Put { path, base, .. }
        | LibraryChange::Move {
            from: path, base, ..
        }
        | LibraryChange::Remove { path, base } => *base = version(path),
    }
    change
}

/// Images 0 to 2 are held, image 3 is not.
fn ledger() -> Ledger {
    Ledger {
        held: (0..3)
            .map(|number| (image(number), u64::from(number)))
            .collect(),
        ..Ledger::default()
    }
}

fn paths(ledger: &Ledger) -> BTreeMap<LibraryPath, PathState> {
    ledger
        .paths
        .iter()
        .map(|(path, state)| (path.clone(), *state))
        .collect()
}

/// How many photos with this content are in the library or in the trash.
fn findable(ledger: &Ledger, fingerprint: Fingerprint) -> usize {
    let current = ledger.paths.values().filter_map(|state| state.photo);
    let trashed = ledger.trash.iter().map(|trashed| trashed.photo);
    current
        .chain(trashed)
        .filter(|photo| photo.fingerprint == fingerprint)
        .count()
}

proptest! {
    #[test]
    fn no_photo_is_ever_lost(changes in prop::collection::vec((change(), any::<bool>()), 1..40)) {
        let mut ledger = ledger();
        for (change, is_current) in changes {
            let change = if is_current { up_to_date(&ledger, change) } else { change };
            let before: Vec<_> = (0..4)
                .map(|number| findable(&ledger, image(number)) > 0)
                .collect();
            let outcome = ledger.apply(&change);
            for (number, was) in (0..4).zip(before) {
                prop_assert!(
                    !was || findable(&ledger, image(number)) > 0,
                    "{change:?} lost image {number}"
                );
            }
            if let LibraryChange::Put { path, fingerprint, .. } = &change
                && matches!(outcome, LibraryOutcome::Applied { .. })
            {
                let present = ledger.current(path).map(|(_, photo)| photo.fingerprint);
                prop_assert_eq!(present, Some(*fingerprint));
            }
        }
    }

    #[test]
    fn a_change_sent_twice_changes_nothing_the_second_time(
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let mut ledger = ledger();
        for change in changes {
            let change = up_to_date(&ledger, change);
            let first = ledger.apply(&change);
            let (states, trashed, version) = (paths(&ledger), ledger.trash.clone(), ledger.version);
            prop_assert_eq!(ledger.apply(&change), first, "{:?}", change);
            prop_assert_eq!(
                (paths(&ledger), &ledger.trash, ledger.version),
                (states, &trashed, version)
            );
        }
    }

    #[test]
    fn a_change_that_is_not_applied_changes_nothing(
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let mut ledger = ledger();
        for change in changes {
            let (states, trashed, version) = (paths(&ledger), ledger.trash.len(), ledger.version);
            if !matches!(ledger.apply(&change), LibraryOutcome::Applied { .. }) {
                prop_assert_eq!(
                    (paths(&ledger), ledger.trash.len(), ledger.version),
                    (states, trashed, version)
                );
            }
        }
    }

    #[test]
    fn every_version_is_assigned_once(changes in prop::collection::vec(change(), 1..40)) {
        let mut ledger = ledger();
        for change in changes {
            let change = up_to_date(&ledger, change);
            ledger.apply(&change);
            let mut versions: Vec<_> = ledger.paths.values().map(|state| state.version).collect();
            versions.sort_unstable();
            versions.dedup();
            prop_assert_eq!(versions.len(), ledger.paths.len());
            prop_assert!(versions.iter().all(|version| *version <= ledger.version));
        }
    }
}
