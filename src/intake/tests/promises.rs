//! From closed files to promises, with everything that can happen on the way.

use super::*;

#[test]
fn a_closed_photo_is_promised() {
    let house = House::new();
    let content = photo("a");
    let id = house.write("a.jpg", &content);
    assert!(house.intake().is_busy());
    assert_eq!(
        house.intake().status(id, &path("a.jpg")).state,
        BackupState::Pending
    );
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&content));
    let status = house.intake().status(id, &path("a.jpg"));
    assert_eq!(
        (status.state, status.fingerprint),
        (BackupState::Pending, Some(Fingerprint::of(&content)))
    );
}

#[test]
fn an_open_file_is_left_alone_and_keeps_others_waiting_for_nothing() {
    let house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    house.intake().opened_for_write(id, &path("a.jpg"));
    house.write("b.jpg", &photo("b"));
    house.wait("b to be promised", |house| {
        house.record(house.id("b.jpg")).is_some()
    });
    assert_eq!(house.record(id), None);
    assert!(house.intake().is_busy());
    house.intake().closed_after_write(id, &path("a.jpg"));
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("a")));
}

#[test]
fn a_thousand_photos_in_nested_folders_are_promised_with_the_right_fingerprints() {
    let house = House::new();
    let name = |number: usize| format!("{}/{}/IMG_{number:04}.jpg", number % 7, number % 31);
    for number in 0..1000 {
        house.write(&name(number), &photo(&number.to_string()));
    }
    house.settle();
    for number in 0..1000 {
        assert_eq!(
            house.state(&name(number)),
            pending(&photo(&number.to_string()))
        );
    }
    assert_eq!(house.intake().tally().pending.files, 1000);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn what_is_no_photo_stays_local_and_says_why() {
    let house = House::new();
    for (name, content, why) in [
        ("a.txt", b"a letter".to_vec(), "not an image"),
        (
            "b.jpg",
            b"BM is how a letter may begin".to_vec(),
            "not an image",
        ),
        ("empty.jpg", Vec::new(), "empty file"),
        (".hidden.jpg", photo("h"), "hidden file"),
        ("c.jpg.part", photo("c"), "temporary name"),
    ] {
        let id = house.write(name, &content);
        house.wait("it to be judged", |house| house.record(id).is_some());
        assert_eq!(house.state(name), local(why));
        let status = house.intake().status(id, &path(name));
        assert_eq!(
            (status.state, status.why.as_deref()),
            (BackupState::Local, Some(why))
        );
    }
    house.settle();
    assert_eq!(house.intake().tally().local.files, 5);
}

#[test]
fn a_file_changed_after_it_was_promised_is_promised_again() {
    let house = House::new();
    house.write("a.jpg", &photo("before"));
    house.settle();
    house.back_up_all();
    let id = house.write("a.jpg", &photo("after"));
    assert_eq!(
        house.intake().status(id, &path("a.jpg")).state,
        BackupState::Pending
    );
    let tally = house.intake().tally();
    assert_eq!(
        (tally.pending.files, tally.backed_up),
        (1, Amount::default())
    );
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("after")));
}

#[test]
fn a_photo_that_was_only_opened_stays_backed_up() {
    let house = House::new();
    let id = house.write("a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.intake().opened_for_write(id, &path("a.jpg"));
    house.intake().closed_after_write(id, &path("a.jpg"));
    house.settle();
    assert_eq!(house.state("a.jpg"), backed_up(&photo("a")));
}

#[test]
fn a_file_changed_while_it_was_hashed_is_hashed_again() {
    let house = House::new();
    let mut content = photo("large");
    content.resize(32 << 20, b'x');
    for round in 0..3_u8 {
        let id = house.write("a.jpg", &content);
        house.wait("a worker to take it", |house| {
            let state = house.intake().inside().desk.state();
            state.notes.next_due().is_none()
                || house
                    .record(id)
                    .is_some_and(|it| it.state == pending(&content))
        });
        *content.last_mut().unwrap() = round;
        house.write("a.jpg", &content);
        house.settle();
        assert_eq!(house.state("a.jpg"), pending(&content));
    }
}

#[test]
fn a_file_removed_while_it_was_hashed_leaves_nothing() {
    let house = House::new();
    let mut content = photo("large");
    content.resize(48 << 20, b'x');
    let id = house.write("a.jpg", &content);
    house.wait("a worker to take it", |house| {
        house
            .intake()
            .inside()
            .desk
            .state()
            .notes
            .next_due()
            .is_none()
    });
    house.remove("a.jpg");
    house.settle();
    assert_eq!(house.record(id), None);
    assert_eq!(house.intake().tally(), Tally::default());
}

#[test]
fn a_number_used_again_is_a_new_file() {
    let house = House::new();
    // The same inode number comes back at once on ext4 and tmpfs; told by hand so that it does
    // everywhere.
    let id = house.write("a.jpg", &photo("a"));
    house.settle();
    house.intake().removed(id, &path("a.jpg"));
    house.intake().changed(id, &path("a.jpg"));
    house.settle();
    assert_eq!(house.state("a.jpg"), pending(&photo("a")));
}

#[test]
fn no_promise_is_lost_to_a_kill() {
    let mut house = House::new();
    house.write("promised.jpg", &photo("p"));
    house.settle();
    house.write("closed.jpg", &photo("c"));
    let open = house.write("open.jpg", &photo("o"));
    house.intake().opened_for_write(open, &path("open.jpg"));
    house.kill();
    house.open();
    house.settle();
    for (name, content) in [
        ("promised.jpg", "p"),
        ("closed.jpg", "c"),
        ("open.jpg", "o"),
    ] {
        assert_eq!(house.state(name), pending(&photo(content)));
    }
}

#[test]
fn a_deleted_journal_costs_no_photo() {
    let mut house = House::new();
    for number in 0..50 {
        house.write(
            &format!("{}/{number}.jpg", number % 5),
            &photo(&number.to_string()),
        );
    }
    house.settle();
    house.kill();
    fs::remove_file(house.journal_file()).unwrap();
    house.open();
    house.settle();
    assert_eq!(house.intake().tally().pending.files, 50);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn stopping_takes_in_what_is_closed() {
    let house = House::new();
    house.write("a.jpg", &photo("a"));
    house.rename("a.jpg", "b.jpg");
    house.intake().stop();
    assert_eq!(house.state("b.jpg"), pending(&photo("a")));
}

#[test]
fn a_lost_spool_does_not_empty_the_library() {
    let mut house = House::new();
    house.write("a.jpg", &photo("a"));
    house.settle();
    house.back_up_all();
    house.empty_outbox();
    let id = house.id("a.jpg");
    house.kill();
    fs::remove_file(house.place("a.jpg")).unwrap();
    house.open();
    house.settle();
    assert_eq!(house.record(id), None);
    assert_eq!(house.empty_outbox(), []);
}

#[test]
fn more_changes_than_can_be_noted_are_found_by_comparing() {
    let house = House::with_notes(64);
    for number in 0..500 {
        house.write(&format!("{number}.jpg"), &photo(&number.to_string()));
    }
    assert!(house.intake().is_busy());
    house.settle();
    assert_eq!(house.intake().tally().pending.files, 500);
    assert_eq!(house.intake().tally(), house.recount());
}

#[test]
fn accepting_more_takes_in_what_was_left() {
    let mut house = House::new();
    house.write("a.jpg", &photo("a"));
    house.write("a.xmp", b"<x:xmpmeta");
    house.write("a.txt", b"a letter");
    house.settle();
    assert_eq!(house.state("a.xmp"), local("not an image"));
    house.kill();
    house.accept = Accept::Media;
    house.open();
    house.settle();
    assert_eq!(house.state("a.xmp"), pending(b"<x:xmpmeta"));
    assert_eq!(house.state("a.txt"), local("not a photo, video or sidecar"));
}
