//! Two names exchanged in one step (`RENAME_EXCHANGE`): both files keep their right states, in the
//! journal and in the library.

use std::collections::BTreeMap;

use super::*;

/// The user's library, as the server has it after each change.
#[derive(Debug, Default)]
struct ServerCopies(BTreeMap<String, Fingerprint>);

impl ServerCopies {
    /// Applies the outbox to the library, as the server does.
    fn hear(&mut self, fixture: &Fixture) {
        for change in fixture.empty_outbox() {
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

    /// Checks that the library lists exactly these names with these contents.
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
fn kept(names: &[&str]) -> (Fixture, ServerCopies) {
    let (fixture, mut server_copies) = (Fixture::new(), ServerCopies::default());
    for name in names {
        fixture.write(name, &photo(name));
    }
    fixture.settle();
    fixture.back_up_all();
    server_copies.hear(&fixture);
    (fixture, server_copies)
}

#[test]
fn exchanged_photos_keep_their_states_and_are_not_read_again() {
    let (fixture, mut server_copies) = kept(&["a.jpg", "b.jpg"]);
    let guard = fixture.intake().context().lock_journal();
    fixture.exchange("a.jpg", "b.jpg");
    for name in ["a.jpg", "b.jpg"] {
        let status = fixture.intake().status(fixture.id(name), &path(name));
        assert_eq!(
            status.state,
            BackupState::BackedUp,
            "at once, before it is followed"
        );
    }
    drop(guard);
    fixture.settle();
    assert_eq!(
        (fixture.state("a.jpg"), fixture.state("b.jpg")),
        (backed_up(&photo("b.jpg")), backed_up(&photo("a.jpg")))
    );
    server_copies.hear(&fixture);
    server_copies.lists(&[("a.jpg", &photo("b.jpg")), ("b.jpg", &photo("a.jpg"))]);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn a_photo_exchanged_with_a_file_that_is_not_backed_up_leaves_its_old_name() {
    let (fixture, mut server_copies) = kept(&["a.jpg"]);
    fixture.write("letter", b"a letter");
    fixture.write("new.jpg", &photo("new"));
    fixture.settle();
    fixture.exchange("letter", "a.jpg");
    fixture.settle();
    server_copies.hear(&fixture);
    server_copies.lists(&[("letter", &photo("a.jpg"))]);
    fixture.exchange("letter", "new.jpg");
    fixture.settle();
    server_copies.hear(&fixture);
    server_copies.lists(&[("new.jpg", &photo("a.jpg"))]);
    assert_eq!(fixture.state("letter"), pending(&photo("new")));
    fixture.back_up_all();
    server_copies.hear(&fixture);
    server_copies.lists(&[("letter", &photo("new")), ("new.jpg", &photo("a.jpg"))]);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn photos_changed_since_their_backup_end_up_under_their_new_names() {
    let (fixture, mut server_copies) = kept(&["a.jpg", "b.jpg"]);
    fixture.write("a.jpg", &photo("edited"));
    fixture.exchange("a.jpg", "b.jpg");
    fixture.settle();
    server_copies.hear(&fixture);
    fixture.back_up_all();
    server_copies.hear(&fixture);
    server_copies.lists(&[("a.jpg", &photo("b.jpg")), ("b.jpg", &photo("edited"))]);
}

#[test]
fn exchanged_folders_exchange_everything_in_them() {
    let (fixture, mut server_copies) =
        kept(&["x/1.jpg", "x/2.jpg", "x/deep/3.jpg", "y/1.jpg", "y/4.jpg"]);
    fixture.write("y/2.jpg", b"a letter");
    fixture.settle();
    fixture.write("x/fresh.jpg", &photo("fresh"));
    fixture.exchange("x", "y");
    fixture.settle();
    fixture.back_up_all();
    server_copies.hear(&fixture);
    server_copies.lists(&[
        ("x/1.jpg", &photo("y/1.jpg")),
        ("x/4.jpg", &photo("y/4.jpg")),
        ("y/1.jpg", &photo("x/1.jpg")),
        ("y/2.jpg", &photo("x/2.jpg")),
        ("y/deep/3.jpg", &photo("x/deep/3.jpg")),
        ("y/fresh.jpg", &photo("fresh")),
    ]);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn a_file_and_a_folder_change_places() {
    let (fixture, mut server_copies) = kept(&["a.jpg", "d/1.jpg"]);
    fixture.exchange("a.jpg", "d");
    fixture.settle();
    server_copies.hear(&fixture);
    server_copies.lists(&[("a.jpg/1.jpg", &photo("d/1.jpg")), ("d", &photo("a.jpg"))]);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn an_exchange_applied_late_is_applied_correctly() {
    let (fixture, mut server_copies) = kept(&["a.jpg", "b.jpg", "c.jpg"]);
    let guard = fixture.intake().context().lock_journal();
    fixture.exchange("a.jpg", "b.jpg");
    fixture.rename("b.jpg", "e.jpg");
    fixture.exchange("a.jpg", "c.jpg");
    fixture.remove("c.jpg");
    fixture.exchange("a.jpg", "e.jpg");
    drop(guard);
    fixture.settle();
    server_copies.hear(&fixture);
    server_copies.lists(&[("a.jpg", &photo("a.jpg")), ("e.jpg", &photo("c.jpg"))]);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn a_hidden_file_that_gets_a_photos_name_is_queued() {
    let (fixture, _server_copies) = kept(&["a.jpg"]);
    fixture.write(".hidden", &photo("hidden"));
    fixture.settle();
    fixture.exchange(".hidden", "a.jpg");
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("hidden")));
}
