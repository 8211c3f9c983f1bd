//! Renames and removals, as programs do them.

use super::*;

#[test]
fn a_photo_saved_under_a_temporary_name_and_renamed_is_queued() {
    let fixture = Fixture::new();
    fixture.write(".IMG_1.jpg.Ab12Cd", &photo("rsync"));
    fixture.rename(".IMG_1.jpg.Ab12Cd", "IMG_1.jpg");
    fixture.settle();
    assert_eq!(fixture.state("IMG_1.jpg"), pending(&photo("rsync")));
    // Also if the temporary file was scanned before it was renamed.
    let id = fixture.write("b.jpg.part", &photo("download"));
    fixture.wait("it to be judged", |fixture| fixture.record(id).is_some());
    fixture.rename("b.jpg.part", "b.jpg");
    assert_eq!(
        fixture.intake().status(id, &path("b.jpg")).state,
        BackupState::Pending
    );
    fixture.settle();
    assert_eq!(fixture.state("b.jpg"), pending(&photo("download")));
}

#[test]
fn saving_over_a_photo_by_rename_queues_the_new_one_and_forgets_the_old() {
    let fixture = Fixture::new();
    let old = fixture.write("a.jpg", &photo("old"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.write(".goutputstream-X1", &photo("new"));
    fixture.rename(".goutputstream-X1", "a.jpg");
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("new")));
    assert_eq!(fixture.record(old), None);
    assert_eq!(
        fixture.empty_outbox(),
        [],
        "the new photo's name will replace the old one's"
    );
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn a_backed_up_photo_moves_in_the_library_without_being_read_again() {
    let fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.rename("a.jpg", "b.jpg");
    fixture.rename("b.jpg", "c.jpg");
    fixture.settle();
    assert_eq!(fixture.state("c.jpg"), backed_up(&photo("a")));
    assert_eq!(
        fixture.empty_outbox(),
        [moved("a.jpg", "b.jpg"), moved("b.jpg", "c.jpg")]
    );
}

#[test]
fn a_pending_photo_stays_pending_under_its_new_name() {
    let fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.rename("a.jpg", "b.jpg");
    fixture.settle();
    assert_eq!(fixture.state("b.jpg"), pending(&photo("a")));
    assert_eq!(fixture.empty_outbox(), []);
}

#[test]
fn a_photo_changed_since_its_backup_takes_its_library_entry_along() {
    let fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.write("a.jpg", &photo("edited"));
    fixture.settle();
    fixture.rename("a.jpg", "b.jpg");
    fixture.settle();
    assert_eq!(fixture.empty_outbox(), [moved("a.jpg", "b.jpg")]);
}

#[test]
fn photos_that_swap_names_swap_them_in_the_library() {
    let fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.write("b.jpg", &photo("b"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.rename("a.jpg", "t.jpg");
    fixture.rename("b.jpg", "a.jpg");
    fixture.rename("t.jpg", "b.jpg");
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), backed_up(&photo("b")));
    assert_eq!(fixture.state("b.jpg"), backed_up(&photo("a")));
    let expected = [
        moved("a.jpg", "t.jpg"),
        moved("b.jpg", "a.jpg"),
        moved("t.jpg", "b.jpg"),
    ];
    assert_eq!(fixture.empty_outbox(), expected);
}

#[test]
fn folders_that_swap_names_swap_them_in_the_library() {
    let fixture = Fixture::new();
    fixture.write("x/1.jpg", &photo("x1"));
    fixture.write("y/1.jpg", &photo("y1"));
    fixture.settle();
    fixture.back_up_all();
    let mut library = std::collections::BTreeMap::new();
    play(&mut library, fixture.empty_outbox());
    // All three happen before the first is applied.
    let guard = fixture.intake().context().lock_journal();
    fixture.rename_folder("x", "t");
    fixture.rename_folder("y", "x");
    fixture.rename_folder("t", "y");
    drop(guard);
    fixture.settle();
    assert_eq!(fixture.state("x/1.jpg"), backed_up(&photo("y1")));
    play(&mut library, fixture.empty_outbox());
    let expected = [
        (path("x/1.jpg"), Fingerprint::of(&photo("y1"))),
        (path("y/1.jpg"), Fingerprint::of(&photo("x1"))),
    ];
    assert_eq!(library.into_iter().collect::<Vec<_>>(), expected);
}

/// Applies changes as the server does.
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
fn a_renamed_folder_takes_its_photos_along_scanned_or_not() {
    let fixture = Fixture::new();
    for number in 0..700 {
        fixture.write(
            &format!("old/{}/{number}.jpg", number % 3),
            &photo(&number.to_string()),
        );
    }
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.write("old/fresh.jpg", &photo("fresh"));
    fixture.rename_folder("old", "new");
    fixture.settle();
    assert_eq!(fixture.state("new/fresh.jpg"), pending(&photo("fresh")));
    assert_eq!(fixture.state("new/1/1.jpg"), backed_up(&photo("1")));
    let changes = fixture.empty_outbox();
    assert_eq!(changes.len(), 700);
    assert!(changes.contains(&moved("old/2/5.jpg", "new/2/5.jpg")));
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn a_photo_that_is_hidden_stays_in_the_library() {
    let fixture = Fixture::new();
    fixture.write("d/a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.rename_folder("d", ".d");
    fixture.settle();
    let id = fixture.id(".d/a.jpg");
    assert_eq!(
        fixture.intake().status(id, &path(".d/a.jpg")).state,
        BackupState::Local
    );
    fixture.wait("it to be judged", |fixture| {
        fixture
            .record(id)
            .is_some_and(|it| it.state == local("hidden file"))
    });
    assert_eq!(fixture.empty_outbox(), []);
    fixture.rename_folder(".d", "e");
    fixture.settle();
    assert_eq!(fixture.state("e/a.jpg"), pending(&photo("a")));
}

#[test]
fn a_removed_photo_goes_to_the_trash_of_the_library() {
    let fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.write("never.jpg", &photo("never"));
    fixture.settle();
    fixture.journal().finish_uploads(Vec::new()).unwrap();
    fixture.remove("never.jpg");
    fixture.settle();
    assert_eq!(fixture.empty_outbox(), [], "it was never there");
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.remove("a.jpg");
    assert_eq!(fixture.intake().tally(), Tally::default(), "gone at once");
    fixture.settle();
    assert_eq!(fixture.record(id), None);
    assert_eq!(
        fixture.empty_outbox(),
        [NameChange::Remove {
            path: path("a.jpg")
        }]
    );
}

#[test]
fn a_rename_while_no_mount_was_running_is_found() {
    let mut fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.kill();
    fs::create_dir(fixture.place("d")).unwrap();
    fs::rename(fixture.place("a.jpg"), fixture.place("d/b.jpg")).unwrap();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("d/b.jpg"), backed_up(&photo("a")));
    assert_eq!(fixture.empty_outbox(), [moved("a.jpg", "d/b.jpg")]);
}

#[test]
fn a_photo_that_is_scanned_between_its_rename_and_the_report_keeps_its_library_entry() {
    let fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    fixture.intake().changed(id, &path("a.jpg"));
    fs::rename(fixture.place("a.jpg"), fixture.place("b.jpg")).unwrap();
    fixture.wait("a worker to miss it", |fixture| {
        fixture
            .intake()
            .context()
            .queue
            .state()
            .pending
            .is_missing(id)
    });
    fixture
        .intake()
        .file_renamed(id, &path("a.jpg"), &path("b.jpg"), None);
    fixture.settle();
    assert_eq!(fixture.state("b.jpg"), backed_up(&photo("a")));
    assert_eq!(fixture.empty_outbox(), [moved("a.jpg", "b.jpg")]);
}

#[test]
fn an_entry_with_a_wrong_path_has_the_tree_compared() {
    let fixture = Fixture::new();
    let id = fixture.put("b.jpg");
    // As a comparison enters it that found it under a name which changed at that moment.
    fixture.intake().changed(id, &path("a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state("b.jpg"), pending(&photo("b.jpg")));
}

#[test]
fn a_rename_reported_late_does_not_change_the_path_of_a_new_file() {
    let fixture = Fixture::new();
    let guard = fixture.intake().context().lock_journal();
    // Renamed and removed before anything is applied; then its inode number is reused, as ext4 does
    // at once.
    let old = fixture.put("c.jpg");
    fixture.intake().changed(old, &path("a.jpg"));
    fixture
        .intake()
        .file_renamed(old, &path("a.jpg"), &path("b.jpg"), None);
    fixture.intake().removed(old, &path("b.jpg"));
    fixture.intake().changed(old, &path("c.jpg"));
    drop(guard);
    fixture.settle();
    assert_eq!(fixture.state("c.jpg"), pending(&photo("c.jpg")));
}
