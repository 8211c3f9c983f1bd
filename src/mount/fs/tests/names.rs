//! Renaming and removing.

use super::*;

fn rename(
    fixture: &Fixture,
    from: (Ino, &str),
    to: (Ino, &str),
    replace: Replace,
) -> Result<(), TreeError> {
    fixture.tree.rename(
        (from.0, OsStr::new(from.1)),
        (to.0, OsStr::new(to.1)),
        replace,
    )
}

#[test]
fn a_rename_over_another_file_reports_the_replaced_one() {
    let fixture = Fixture::new();
    let (new, old) = (
        fixture.put(ROOT, ".a.jpg.tmp", b"new"),
        fixture.put(ROOT, "a.jpg", b"old"),
    );
    rename(
        &fixture,
        (ROOT, ".a.jpg.tmp"),
        (ROOT, "a.jpg"),
        Replace::Allow,
    )
    .unwrap();
    assert_eq!(
        fixture.listener.take_events(),
        ["renamed .a.jpg.tmp to a.jpg over another"]
    );
    assert_eq!(fixture.find(ROOT, "a.jpg").unwrap().ino, new);
    assert!(matches!(
        fixture.tree.attributes(old, None),
        Err(TreeError::Removed(_))
    ));
}

#[test]
fn a_renamed_folder_takes_its_content_along() {
    let fixture = Fixture::new();
    let folder = fixture.folder(ROOT, "2026");
    let ino = fixture.put(folder, "a.jpg", b"1");
    let open = fixture.tree.open(ino, WRITE, Truncate::No).unwrap();
    rename(
        &fixture,
        (ROOT, "2026"),
        (ROOT, "twenty-six"),
        Replace::Refuse,
    )
    .unwrap();
    fixture.tree.close(open);
    assert_eq!(
        fixture.listener.take_events(),
        [
            "writing 2026/a.jpg",
            "renamed folder 2026 to twenty-six",
            "written twenty-six/a.jpg"
        ]
    );
    assert_eq!(fixture.tree.attributes(ino, None).unwrap().size, 1);
}

#[test]
fn a_file_renamed_while_it_is_written_is_closed_under_its_new_name() {
    let fixture = Fixture::new();
    let made = fixture.create(ROOT, "a.part");
    rename(&fixture, (ROOT, "a.part"), (ROOT, "a.jpg"), Replace::Allow).unwrap();
    fixture
        .tree
        .write(made.handle, 0, b"late", Writer::Unknown)
        .unwrap();
    fixture.tree.close(made.handle);
    assert_eq!(
        fixture.listener.take_events(),
        ["writing a.part", "renamed a.part to a.jpg", "written a.jpg"]
    );
}

#[test]
fn exchanged_names_are_reported_in_one_event_and_lead_to_the_right_files() {
    let fixture = Fixture::new();
    let (one, folder) = (
        fixture.put(ROOT, "one", b"1"),
        fixture.folder(ROOT, "folder"),
    );
    let two = fixture.put(folder, "two", b"22");
    rename(&fixture, (ROOT, "one"), (folder, "two"), Replace::Exchange).unwrap();
    assert_eq!(
        fixture.listener.take_events(),
        ["exchanged one and folder/two"]
    );
    assert_eq!(fixture.find(ROOT, "one").unwrap().ino, two);
    assert_eq!(
        (
            fixture.tree.attributes(one, None).unwrap().size,
            fixture.tree.attributes(two, None).unwrap().size
        ),
        (1, 2)
    );
    rename(&fixture, (ROOT, "one"), (ROOT, "folder"), Replace::Exchange).unwrap();
    assert_eq!(fixture.listener.take_events(), ["exchanged one and folder"]);
    let open = fixture.tree.open(one, WRITE, Truncate::No).unwrap();
    fixture.tree.close(open);
    assert_eq!(
        fixture.listener.take_events(),
        ["writing one/two", "written one/two"]
    );
}

#[test]
fn what_is_exchanged_with_a_link_is_reported_as_renamed() {
    let fixture = Fixture::new();
    fixture.put(ROOT, "a.jpg", b"1");
    fixture.folder(ROOT, "folder");
    for link in ["link", "other"] {
        fixture
            .tree
            .create_symlink(ROOT, OsStr::new(link), Path::new("x"))
            .unwrap();
    }
    rename(&fixture, (ROOT, "a.jpg"), (ROOT, "link"), Replace::Exchange).unwrap();
    rename(
        &fixture,
        (ROOT, "other"),
        (ROOT, "folder"),
        Replace::Exchange,
    )
    .unwrap();
    rename(
        &fixture,
        (ROOT, "a.jpg"),
        (ROOT, "folder"),
        Replace::Exchange,
    )
    .unwrap();
    assert_eq!(
        fixture.listener.take_events(),
        ["renamed a.jpg to link", "renamed folder folder to other"]
    );
}

#[test]
fn a_refused_rename_changes_and_reports_nothing() {
    let fixture = Fixture::new();
    let (one, two) = (
        fixture.put(ROOT, "one", b"1"),
        fixture.put(ROOT, "two", b"2"),
    );
    assert!(matches!(
        rename(&fixture, (ROOT, "one"), (ROOT, "two"), Replace::Refuse),
        Err(TreeError::Spool(_))
    ));
    assert!(matches!(
        rename(&fixture, (ROOT, "no"), (ROOT, "two"), Replace::Allow),
        Err(TreeError::Spool(_))
    ));
    let folder = fixture.folder(ROOT, "folder");
    assert!(
        rename(
            &fixture,
            (ROOT, "folder"),
            (folder, "itself"),
            Replace::Allow
        )
        .is_err()
    );
    assert!(fixture.listener.take_events().is_empty());
    assert_eq!(
        (
            fixture.find(ROOT, "one").unwrap().ino,
            fixture.find(ROOT, "two").unwrap().ino
        ),
        (one, two)
    );
}

#[test]
fn a_rename_onto_itself_does_nothing() {
    let fixture = Fixture::new();
    let ino = fixture.put(ROOT, "a.jpg", b"1");
    rename(&fixture, (ROOT, "a.jpg"), (ROOT, "a.jpg"), Replace::Allow).unwrap();
    assert_eq!(fixture.tree.attributes(ino, None).unwrap().size, 1);
}

#[test]
fn a_link_renamed_over_a_photo_removes_it() {
    let fixture = Fixture::new();
    fixture.put(ROOT, "a.jpg", b"1");
    fixture
        .tree
        .create_symlink(ROOT, OsStr::new("link"), Path::new("x"))
        .unwrap();
    rename(&fixture, (ROOT, "link"), (ROOT, "a.jpg"), Replace::Allow).unwrap();
    assert_eq!(fixture.listener.take_events(), ["removed a.jpg"]);
}

#[test]
fn only_empty_folders_and_no_files_are_removed_as_folders() {
    let fixture = Fixture::new();
    let folder = fixture.folder(ROOT, "folder");
    fixture.put(folder, "a.jpg", b"1");
    assert!(
        fixture
            .tree
            .remove_folder(ROOT, OsStr::new("folder"))
            .is_err()
    );
    assert!(
        fixture
            .tree
            .remove_file(ROOT, OsStr::new("folder"))
            .is_err()
    );
    assert!(
        fixture
            .tree
            .remove_folder(folder, OsStr::new("a.jpg"))
            .is_err()
    );
    fixture
        .tree
        .remove_file(folder, OsStr::new("a.jpg"))
        .unwrap();
    fixture
        .tree
        .remove_folder(ROOT, OsStr::new("folder"))
        .unwrap();
    assert_eq!(fixture.listener.take_events(), ["removed folder/a.jpg"]);
    assert!(matches!(
        fixture.tree.create_folder(folder, OsStr::new("x"), 0o755),
        Err(TreeError::Removed(_))
    ));
}

#[test]
fn an_empty_file_created_without_a_handle_is_reported() {
    let fixture = Fixture::new();
    fixture
        .tree
        .create_empty_file(ROOT, OsStr::new("a.jpg"), 0o600)
        .unwrap();
    assert_eq!(fixture.listener.take_events(), ["touched a.jpg"]);
    assert_eq!(fixture.find(ROOT, "a.jpg").unwrap().metadata.mode, 0o600);
}

#[test]
fn a_reused_inode_number_is_another_file() {
    let fixture = Fixture::new();
    // Disks reuse numbers when they like; some round will see it.
    for round in 0..200 {
        let name = format!("{round}.jpg");
        let made = fixture.create(ROOT, &name);
        fixture.tree.close(made.handle);
        fixture.tree.remove_file(ROOT, OsStr::new(&name)).unwrap();
        let again = fixture.create(ROOT, &name);
        fixture.tree.close(again.handle);
        if made.entry.ino == again.entry.ino {
            assert_ne!(made.entry.generation, again.entry.generation);
            fixture.tree.forget(made.entry.ino, 1);
            assert_eq!(
                fixture.tree.attributes(again.entry.ino, None).unwrap().size,
                0,
                "the new one is still held"
            );
        }
    }
}
