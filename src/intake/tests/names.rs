//! Renames and removals, as programs do them.

use super::*;

#[test]
fn a_photo_saved_under_a_temporary_name_and_renamed_is_promised() {
    let house = House::new();
    house.write(".IMG_1.jpg.Ab12Cd", &photo("rsync"));
    house.rename(".IMG_1.jpg.Ab12Cd", "IMG_1.jpg");
    house.settle();
    assert_eq!(house.state("IMG_1.jpg"), pending(&photo("rsync")));
    // And when the temporary file was judged before it was renamed.
    let id = house.write("b.jpg.part", &photo("download"));
    house.wait("it to be judged", |house| house.record(id).is_some());
    house.rename("b.jpg.part", "b.jpg");
    assert_eq!(
        house.intake().status(id, &path("b.jpg")).state,
        BackupState::Pending
    );
    house.settle();
    assert_eq!(house.state("b.jpg"), pending(&photo("download")));
}

#[test]
fn saving_over_a_photo_by_rename_promises_the_new_one_and_forgets_the_old() {
    let house = House::new();
    let old = house.write("a.jpg", &photo("old"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.write(".goutputstream-X1", &photo("new"));
    house.rename(".goutputstream-X1", "a.jpg");
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("new")));
    assert_eq!(house.record(old), None);
    assert_eq!(
        house.empty_outbox(),
        [],
        "the new photo's name will replace the old one's"
    );
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn a_backed_up_photo_moves_in_the_library_without_being_read_again() {
    let house = House::new();
    house.write("a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.rename("a.jpg", "b.jpg");
    house.rename("b.jpg", "c.jpg");
    house.settle();
    assert_eq!(house.state("c.jpg"), backed_up(&photo("a")));
    assert_eq!(
        house.empty_outbox(),
        [moved("a.jpg", "b.jpg"), moved("b.jpg", "c.jpg")]
    );
}

#[test]
fn a_promised_photo_keeps_its_promise_under_its_new_name() {
    let house = House::new();
    house.write("a.jpg", &photo("a"));
    house.settle();
    house.rename("a.jpg", "b.jpg");
    house.settle();
    assert_eq!(house.state("b.jpg"), pending(&photo("a")));
    assert_eq!(house.empty_outbox(), []);
}

#[test]
fn a_photo_changed_since_its_backup_takes_its_name_in_the_library_along() {
    let house = House::new();
    house.write("a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.write("a.jpg", &photo("edited"));
    house.settle();
    house.rename("a.jpg", "b.jpg");
    house.settle();
    assert_eq!(house.empty_outbox(), [moved("a.jpg", "b.jpg")]);
}

#[test]
fn photos_that_swap_names_swap_them_in_the_library() {
    let house = House::new();
    house.write("a.jpg", &photo("a"));
    house.write("b.jpg", &photo("b"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.rename("a.jpg", "t.jpg");
    house.rename("b.jpg", "a.jpg");
    house.rename("t.jpg", "b.jpg");
    house.settle();
    assert_eq!(house.state("a.jpg"), backed_up(&photo("b")));
    assert_eq!(house.state("b.jpg"), backed_up(&photo("a")));
    let expected = [
        moved("a.jpg", "t.jpg"),
        moved("b.jpg", "a.jpg"),
        moved("t.jpg", "b.jpg"),
    ];
    assert_eq!(house.empty_outbox(), expected);
}

#[test]
fn folders_that_swap_names_swap_them_in_the_library() {
    let house = House::new();
    house.write("x/1.jpg", &photo("x1"));
    house.write("y/1.jpg", &photo("y1"));
    house.settle();
    house.back_up_all();
    let mut library = std::collections::BTreeMap::new();
    play(&mut library, house.empty_outbox());
    // All three happen before the first is followed.
    let ledger = house.intake().inside().ledger();
    house.rename_folder("x", "t");
    house.rename_folder("y", "x");
    house.rename_folder("t", "y");
    drop(ledger);
    house.settle();
    assert_eq!(house.state("x/1.jpg"), backed_up(&photo("y1")));
    play(&mut library, house.empty_outbox());
    let expected = [
        (path("x/1.jpg"), Fingerprint::of(&photo("y1"))),
        (path("y/1.jpg"), Fingerprint::of(&photo("x1"))),
    ];
    assert_eq!(library.into_iter().collect::<Vec<_>>(), expected);
}

/// Carries changes out as the server does.
fn play(
    library: &mut std::collections::BTreeMap<LibraryPath, Fingerprint>,
    changes: Vec<NameChange>,
) {
    for change in changes {
        match change {
            NameChange::Put {
                path, fingerprint, ..
            } => {
                library.insert(path, fingerprint);
            }
            NameChange::Move { from, to } => {
                let photo = library
                    .remove(&from)
                    .expect("only what is in the library moves");
                library.insert(to, photo);
            }
            NameChange::Remove { path } => {
                library.remove(&path);
            }
        }
    }
}

#[test]
fn a_renamed_folder_takes_its_photos_along_noted_or_not() {
    let house = House::new();
    for number in 0..700 {
        house.write(
            &format!("old/{}/{number}.jpg", number % 3),
            &photo(&number.to_string()),
        );
    }
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.write("old/fresh.jpg", &photo("fresh"));
    house.rename_folder("old", "new");
    house.settle();
    assert_eq!(house.state("new/fresh.jpg"), pending(&photo("fresh")));
    assert_eq!(house.state("new/1/1.jpg"), backed_up(&photo("1")));
    let changes = house.empty_outbox();
    assert_eq!(changes.len(), 700);
    assert!(changes.contains(&moved("old/2/5.jpg", "new/2/5.jpg")));
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn a_photo_that_is_hidden_stays_in_the_library() {
    let house = House::new();
    house.write("d/a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.rename_folder("d", ".d");
    house.settle();
    let id = house.id(".d/a.jpg");
    assert_eq!(
        house.intake().status(id, &path(".d/a.jpg")).state,
        BackupState::Local
    );
    house.wait("it to be judged", |house| {
        house
            .record(id)
            .is_some_and(|it| it.state == local("hidden file"))
    });
    assert_eq!(house.empty_outbox(), []);
    house.rename_folder(".d", "e");
    house.settle();
    assert_eq!(house.state("e/a.jpg"), pending(&photo("a")));
}

#[test]
fn a_removed_photo_goes_to_the_trash_of_the_library() {
    let house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    house.write("never.jpg", &photo("never"));
    house.settle();
    house.journal().finish_uploads(Vec::new()).unwrap();
    house.remove("never.jpg");
    house.settle();
    assert_eq!(house.empty_outbox(), [], "it was never there");
    house.back_up_all();
    house.empty_outbox();
    house.remove("a.jpg");
    assert_eq!(house.intake().tally(), Tally::default(), "gone at once");
    house.settle();
    assert_eq!(house.record(id), None);
    assert_eq!(
        house.empty_outbox(),
        [NameChange::Remove {
            path: path("a.jpg")
        }]
    );
}

#[test]
fn a_rename_while_nobody_watched_is_found() {
    let mut house = House::new();
    house.write("a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.kill();
    fs::create_dir(house.place("d")).unwrap();
    fs::rename(house.place("a.jpg"), house.place("d/b.jpg")).unwrap();
    house.open();
    house.settle();
    assert_eq!(house.state("d/b.jpg"), backed_up(&photo("a")));
    assert_eq!(house.empty_outbox(), [moved("a.jpg", "d/b.jpg")]);
}

#[test]
fn a_photo_that_is_looked_for_between_its_renaming_and_the_word_of_it_keeps_its_name_in_the_library()
 {
    let house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    house.intake().changed(id, &path("a.jpg"));
    fs::rename(house.place("a.jpg"), house.place("b.jpg")).unwrap();
    house.wait("a worker to miss it", |house| {
        house.intake().inside().desk.state().notes.is_missing(id)
    });
    house
        .intake()
        .file_renamed(id, &path("a.jpg"), &path("b.jpg"), None);
    house.settle();
    assert_eq!(house.state("b.jpg"), backed_up(&photo("a")));
    assert_eq!(house.empty_outbox(), [moved("a.jpg", "b.jpg")]);
}

#[test]
fn a_note_that_leads_nowhere_has_the_tree_compared() {
    let house = House::new();
    let id = house.put("b.jpg");
    // As a comparison notes it that met it under a name which changed that moment.
    house.intake().changed(id, &path("a.jpg"));
    house.settle();
    assert_eq!(house.state("b.jpg"), pending(&photo("b.jpg")));
}

#[test]
fn a_name_told_late_does_not_lead_a_new_file_astray() {
    let house = House::new();
    let ledger = house.intake().inside().ledger();
    // Renamed and removed before anything is followed; then its number comes back, as ext4 gives it
    // again at once.
    let old = house.put("c.jpg");
    house.intake().changed(old, &path("a.jpg"));
    house
        .intake()
        .file_renamed(old, &path("a.jpg"), &path("b.jpg"), None);
    house.intake().removed(old, &path("b.jpg"));
    house.intake().changed(old, &path("c.jpg"));
    drop(ledger);
    house.settle();
    assert_eq!(house.state("c.jpg"), pending(&photo("c.jpg")));
}
