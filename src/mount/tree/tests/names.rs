//! Renaming and removing.

use super::*;

fn rename(
    house: &House,
    from: (INodeNo, &str),
    to: (INodeNo, &str),
    replace: Replace,
) -> Result<(), TreeError> {
    house.tree.rename(
        (from.0, OsStr::new(from.1)),
        (to.0, OsStr::new(to.1)),
        replace,
    )
}

#[test]
fn a_rename_over_another_says_which_is_gone() {
    let house = House::new();
    let (new, old) = (
        house.put(TOP, ".a.jpg.tmp", b"new"),
        house.put(TOP, "a.jpg", b"old"),
    );
    rename(&house, (TOP, ".a.jpg.tmp"), (TOP, "a.jpg"), Replace::Allow).unwrap();
    assert_eq!(
        house.notes.take(),
        ["renamed .a.jpg.tmp to a.jpg over another"]
    );
    assert_eq!(house.find(TOP, "a.jpg").unwrap().number, new);
    assert!(matches!(
        house.tree.facts(old, None),
        Err(TreeError::Removed(_))
    ));
}

#[test]
fn a_folder_takes_what_is_in_it_along() {
    let house = House::new();
    let folder = house.folder(TOP, "2026");
    let number = house.put(folder, "a.jpg", b"1");
    let open = house.tree.open(number, WRITE, Truncate::No).unwrap();
    rename(&house, (TOP, "2026"), (TOP, "twenty-six"), Replace::Refuse).unwrap();
    house.tree.close(open);
    assert_eq!(
        house.notes.take(),
        [
            "writing 2026/a.jpg",
            "renamed folder 2026 to twenty-six",
            "written twenty-six/a.jpg"
        ]
    );
    assert_eq!(house.tree.facts(number, None).unwrap().size, 1);
}

#[test]
fn a_file_renamed_while_it_is_written_ends_under_its_new_name() {
    let house = House::new();
    let made = house.create(TOP, "a.part");
    rename(&house, (TOP, "a.part"), (TOP, "a.jpg"), Replace::Allow).unwrap();
    house
        .tree
        .write(made.handle, 0, b"late", Hand::Anybody)
        .unwrap();
    house.tree.close(made.handle);
    assert_eq!(
        house.notes.take(),
        ["writing a.part", "renamed a.part to a.jpg", "written a.jpg"]
    );
}

#[test]
fn exchanged_names_are_told_at_once_and_lead_to_what_stands_there() {
    let house = House::new();
    let (one, folder) = (house.put(TOP, "one", b"1"), house.folder(TOP, "folder"));
    let two = house.put(folder, "two", b"22");
    rename(&house, (TOP, "one"), (folder, "two"), Replace::Exchange).unwrap();
    assert_eq!(house.notes.take(), ["exchanged one and folder/two"]);
    assert_eq!(house.find(TOP, "one").unwrap().number, two);
    assert_eq!(
        (
            house.tree.facts(one, None).unwrap().size,
            house.tree.facts(two, None).unwrap().size
        ),
        (1, 2)
    );
    rename(&house, (TOP, "one"), (TOP, "folder"), Replace::Exchange).unwrap();
    assert_eq!(house.notes.take(), ["exchanged one and folder"]);
    let open = house.tree.open(one, WRITE, Truncate::No).unwrap();
    house.tree.close(open);
    assert_eq!(house.notes.take(), ["writing one/two", "written one/two"]);
}

#[test]
fn what_changes_places_with_a_link_is_told_as_renamed() {
    let house = House::new();
    house.put(TOP, "a.jpg", b"1");
    house.folder(TOP, "folder");
    for link in ["link", "other"] {
        house
            .tree
            .create_link(TOP, OsStr::new(link), Path::new("x"))
            .unwrap();
    }
    rename(&house, (TOP, "a.jpg"), (TOP, "link"), Replace::Exchange).unwrap();
    rename(&house, (TOP, "other"), (TOP, "folder"), Replace::Exchange).unwrap();
    rename(&house, (TOP, "a.jpg"), (TOP, "folder"), Replace::Exchange).unwrap();
    assert_eq!(
        house.notes.take(),
        ["renamed a.jpg to link", "renamed folder folder to other"]
    );
}

#[test]
fn a_refused_rename_changes_and_tells_nothing() {
    let house = House::new();
    let (one, two) = (house.put(TOP, "one", b"1"), house.put(TOP, "two", b"2"));
    assert!(matches!(
        rename(&house, (TOP, "one"), (TOP, "two"), Replace::Refuse),
        Err(TreeError::Spool(_))
    ));
    assert!(matches!(
        rename(&house, (TOP, "no"), (TOP, "two"), Replace::Allow),
        Err(TreeError::Spool(_))
    ));
    let folder = house.folder(TOP, "folder");
    assert!(rename(&house, (TOP, "folder"), (folder, "itself"), Replace::Allow).is_err());
    assert!(house.notes.take().is_empty());
    assert_eq!(
        (
            house.find(TOP, "one").unwrap().number,
            house.find(TOP, "two").unwrap().number
        ),
        (one, two)
    );
}

#[test]
fn a_rename_onto_itself_is_nothing() {
    let house = House::new();
    let number = house.put(TOP, "a.jpg", b"1");
    rename(&house, (TOP, "a.jpg"), (TOP, "a.jpg"), Replace::Allow).unwrap();
    assert_eq!(house.tree.facts(number, None).unwrap().size, 1);
}

#[test]
fn a_link_put_over_a_photo_removes_it() {
    let house = House::new();
    house.put(TOP, "a.jpg", b"1");
    house
        .tree
        .create_link(TOP, OsStr::new("link"), Path::new("x"))
        .unwrap();
    rename(&house, (TOP, "link"), (TOP, "a.jpg"), Replace::Allow).unwrap();
    assert_eq!(house.notes.take(), ["removed a.jpg"]);
}

#[test]
fn only_empty_folders_and_no_files_are_removed_as_folders() {
    let house = House::new();
    let folder = house.folder(TOP, "folder");
    house.put(folder, "a.jpg", b"1");
    assert!(house.tree.remove_folder(TOP, OsStr::new("folder")).is_err());
    assert!(house.tree.remove_file(TOP, OsStr::new("folder")).is_err());
    assert!(
        house
            .tree
            .remove_folder(folder, OsStr::new("a.jpg"))
            .is_err()
    );
    house.tree.remove_file(folder, OsStr::new("a.jpg")).unwrap();
    house.tree.remove_folder(TOP, OsStr::new("folder")).unwrap();
    assert_eq!(house.notes.take(), ["removed folder/a.jpg"]);
    assert!(matches!(
        house.tree.create_folder(folder, OsStr::new("x"), 0o755),
        Err(TreeError::Removed(_))
    ));
}

#[test]
fn an_empty_file_made_without_a_handle_is_told() {
    let house = House::new();
    house
        .tree
        .create_empty_file(TOP, OsStr::new("a.jpg"), 0o600)
        .unwrap();
    assert_eq!(house.notes.take(), ["touched a.jpg"]);
    assert_eq!(house.find(TOP, "a.jpg").unwrap().facts.mode, 0o600);
}

#[test]
fn a_number_that_the_disk_gives_again_is_another_file() {
    let house = House::new();
    // Disks give numbers again when they like; some try is the one.
    for round in 0..200 {
        let name = format!("{round}.jpg");
        let made = house.create(TOP, &name);
        house.tree.close(made.handle);
        house.tree.remove_file(TOP, OsStr::new(&name)).unwrap();
        let again = house.create(TOP, &name);
        house.tree.close(again.handle);
        if made.entry.number == again.entry.number {
            assert_ne!(made.entry.generation, again.entry.generation);
            house.tree.forget(made.entry.number, 1);
            assert_eq!(
                house.tree.facts(again.entry.number, None).unwrap().size,
                0,
                "the new one is still known"
            );
        }
    }
}
