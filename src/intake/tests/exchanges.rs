//! Names that change places in one step (`RENAME_EXCHANGE`): both keep their right states, here and
//! in the library.

use std::collections::BTreeMap;

use super::*;

/// The user's library, as the server has it after each change.
#[derive(Debug, Default)]
struct Shelf(BTreeMap<String, Fingerprint>);

impl Shelf {
    /// Carries out what is in the outbox, as the server does.
    fn hear(&mut self, house: &House) {
        for change in house.empty_outbox() {
            match change {
                NameChange::Put {
                    path, fingerprint, ..
                } => {
                    self.0.insert(path.to_string(), fingerprint);
                }
                NameChange::Move { from, to } => {
                    let photo = self
                        .0
                        .remove(from.as_str())
                        .expect("only what is in the library moves");
                    self.0.insert(to.to_string(), photo);
                }
                NameChange::Remove { path } => {
                    self.0.remove(path.as_str());
                }
            }
        }
    }

    /// The library lists exactly these names with these contents.
    #[track_caller]
    fn lists(&self, expected: &[(&str, &[u8])]) {
        let expected = expected
            .iter()
            .map(|(path, content)| ((*path).to_owned(), Fingerprint::of(content)))
            .collect();
        assert_eq!(self.0, expected);
    }
}

/// Photos of these contents under these names, all backed up.
fn kept(names: &[&str]) -> (House, Shelf) {
    let (house, mut shelf) = (House::new(), Shelf::default());
    for name in names {
        house.write(name, &photo(name));
    }
    house.settle();
    house.back_up_all();
    shelf.hear(&house);
    (house, shelf)
}

#[test]
fn exchanged_photos_keep_their_states_and_are_not_read_again() {
    let (house, mut shelf) = kept(&["a.jpg", "b.jpg"]);
    let ledger = house.intake().inside().ledger();
    house.exchange("a.jpg", "b.jpg");
    for name in ["a.jpg", "b.jpg"] {
        let status = house.intake().status(house.id(name), &path(name));
        assert_eq!(
            status.state,
            BackupState::BackedUp,
            "at once, before it is followed"
        );
    }
    drop(ledger);
    house.settle();
    assert_eq!(
        (house.state("a.jpg"), house.state("b.jpg")),
        (backed_up(&photo("b.jpg")), backed_up(&photo("a.jpg")))
    );
    shelf.hear(&house);
    shelf.lists(&[("a.jpg", &photo("b.jpg")), ("b.jpg", &photo("a.jpg"))]);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn a_photo_exchanged_with_what_is_not_backed_up_leaves_its_old_name() {
    let (house, mut shelf) = kept(&["a.jpg"]);
    house.write("letter", b"a letter");
    house.write("new.jpg", &photo("new"));
    house.settle();
    house.exchange("letter", "a.jpg");
    house.settle();
    shelf.hear(&house);
    shelf.lists(&[("letter", &photo("a.jpg"))]);
    house.exchange("letter", "new.jpg");
    house.settle();
    shelf.hear(&house);
    shelf.lists(&[("new.jpg", &photo("a.jpg"))]);
    assert_eq!(house.state("letter"), pending(&photo("new")));
    house.back_up_all();
    shelf.hear(&house);
    shelf.lists(&[("letter", &photo("new")), ("new.jpg", &photo("a.jpg"))]);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn photos_changed_since_their_backup_end_up_under_their_new_names() {
    let (house, mut shelf) = kept(&["a.jpg", "b.jpg"]);
    house.write("a.jpg", &photo("edited"));
    house.exchange("a.jpg", "b.jpg");
    house.settle();
    shelf.hear(&house);
    house.back_up_all();
    shelf.hear(&house);
    shelf.lists(&[("a.jpg", &photo("b.jpg")), ("b.jpg", &photo("edited"))]);
}

#[test]
fn exchanged_folders_exchange_all_that_is_in_them() {
    let (house, mut shelf) = kept(&["x/1.jpg", "x/2.jpg", "x/deep/3.jpg", "y/1.jpg", "y/4.jpg"]);
    house.write("y/2.jpg", b"a letter");
    house.settle();
    house.write("x/fresh.jpg", &photo("fresh"));
    house.exchange("x", "y");
    house.settle();
    house.back_up_all();
    shelf.hear(&house);
    shelf.lists(&[
        ("x/1.jpg", &photo("y/1.jpg")),
        ("x/4.jpg", &photo("y/4.jpg")),
        ("y/1.jpg", &photo("x/1.jpg")),
        ("y/2.jpg", &photo("x/2.jpg")),
        ("y/deep/3.jpg", &photo("x/deep/3.jpg")),
        ("y/fresh.jpg", &photo("fresh")),
    ]);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn a_file_and_a_folder_change_places() {
    let (house, mut shelf) = kept(&["a.jpg", "d/1.jpg"]);
    house.exchange("a.jpg", "d");
    house.settle();
    shelf.hear(&house);
    shelf.lists(&[("a.jpg/1.jpg", &photo("d/1.jpg")), ("d", &photo("a.jpg"))]);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn an_exchange_followed_late_is_followed_right() {
    let (house, mut shelf) = kept(&["a.jpg", "b.jpg", "c.jpg"]);
    let ledger = house.intake().inside().ledger();
    house.exchange("a.jpg", "b.jpg");
    house.rename("b.jpg", "e.jpg");
    house.exchange("a.jpg", "c.jpg");
    house.remove("c.jpg");
    house.exchange("a.jpg", "e.jpg");
    drop(ledger);
    house.settle();
    shelf.hear(&house);
    shelf.lists(&[("a.jpg", &photo("a.jpg")), ("e.jpg", &photo("c.jpg"))]);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn a_hidden_file_that_gets_a_photos_name_is_kept() {
    let (house, _shelf) = kept(&["a.jpg"]);
    house.write(".hidden", &photo("hidden"));
    house.settle();
    house.exchange(".hidden", "a.jpg");
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("hidden")));
}
