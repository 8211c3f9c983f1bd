//! From closed files to pending records, with everything that can happen in between.

use super::*;

#[test]
fn a_closed_photo_is_queued() {
    let fixture = Fixture::new();
    let content = photo("a");
    let id = fixture.write("a.jpg", &content);
    assert!(fixture.intake().is_busy());
    assert_eq!(
        fixture.intake().status(id, &path("a.jpg")).state,
        BackupState::Pending
    );
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&content));
    let status = fixture.intake().status(id, &path("a.jpg"));
    assert_eq!(
        (status.state, status.fingerprint),
        (BackupState::Pending, Some(Fingerprint::of(&content)))
    );
}

#[test]
fn an_open_file_is_not_scanned_and_does_not_delay_others() {
    let fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.intake().opened_for_write(id, &path("a.jpg"));
    fixture.write("b.jpg", &photo("b"));
    fixture.wait("b to be queued", |fixture| {
        fixture.record(fixture.id("b.jpg")).is_some()
    });
    assert_eq!(fixture.record(id), None);
    assert!(fixture.intake().is_busy());
    fixture.intake().closed_after_write(id, &path("a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("a")));
}

#[test]
fn a_thousand_photos_in_nested_folders_are_queued_with_the_right_fingerprints() {
    let fixture = Fixture::new();
    let name = |number: usize| format!("{}/{}/IMG_{number:04}.jpg", number % 7, number % 31);
    for number in 0..1000 {
        fixture.write(&name(number), &photo(&number.to_string()));
    }
    fixture.settle();
    for number in 0..1000 {
        assert_eq!(
            fixture.state(&name(number)),
            pending(&photo(&number.to_string()))
        );
    }
    assert_eq!(fixture.intake().tally().pending.files, 1000);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn files_that_are_no_photos_stay_local_and_say_why() {
    let fixture = Fixture::new();
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
        let id = fixture.write(name, &content);
        fixture.wait("it to be judged", |fixture| fixture.record(id).is_some());
        assert_eq!(fixture.state(name), local(why));
        let status = fixture.intake().status(id, &path(name));
        assert_eq!(
            (status.state, status.why.as_deref()),
            (BackupState::Local, Some(why))
        );
    }
    fixture.settle();
    assert_eq!(fixture.intake().tally().local.files, 5);
}

#[test]
fn a_file_changed_after_it_was_queued_is_queued_again() {
    let fixture = Fixture::new();
    fixture.write("a.jpg", &photo("before"));
    fixture.settle();
    fixture.back_up_all();
    let id = fixture.write("a.jpg", &photo("after"));
    assert_eq!(
        fixture.intake().status(id, &path("a.jpg")).state,
        BackupState::Pending
    );
    let tally = fixture.intake().tally();
    assert_eq!(
        (tally.pending.files, tally.backed_up),
        (1, Amount::default())
    );
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("after")));
}

#[test]
fn a_photo_that_was_only_opened_stays_backed_up() {
    let fixture = Fixture::new();
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.intake().opened_for_write(id, &path("a.jpg"));
    fixture.intake().closed_after_write(id, &path("a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), backed_up(&photo("a")));
}

#[test]
fn a_file_changed_while_it_was_hashed_is_hashed_again() {
    let fixture = Fixture::new();
    let mut content = photo("large");
    content.resize(32 << 20, b'x');
    for round in 0..3_u8 {
        let id = fixture.write("a.jpg", &content);
        fixture.wait("a worker to take it", |fixture| {
            let state = fixture.intake().context().queue.state();
            state.pending.next_due().is_none()
                || fixture
                    .record(id)
                    .is_some_and(|it| it.state == pending(&content))
        });
        *content.last_mut().unwrap() = round;
        fixture.write("a.jpg", &content);
        fixture.settle();
        assert_eq!(fixture.state("a.jpg"), pending(&content));
    }
}

#[test]
fn a_file_removed_while_it_was_hashed_leaves_nothing() {
    let fixture = Fixture::new();
    let mut content = photo("large");
    content.resize(48 << 20, b'x');
    let id = fixture.write("a.jpg", &content);
    fixture.wait("a worker to take it", |fixture| {
        fixture
            .intake()
            .context()
            .queue
            .state()
            .pending
            .next_due()
            .is_none()
    });
    fixture.remove("a.jpg");
    fixture.settle();
    assert_eq!(fixture.record(id), None);
    assert_eq!(fixture.intake().tally(), Tally::default());
}

#[test]
fn a_reused_inode_number_is_a_new_file() {
    let fixture = Fixture::new();
    // The same inode number comes back at once on ext4 and tmpfs; reported by hand so that it does
    // everywhere.
    let id = fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.intake().removed(id, &path("a.jpg"));
    fixture.intake().changed(id, &path("a.jpg"));
    fixture.settle();
    assert_eq!(fixture.state("a.jpg"), pending(&photo("a")));
}

#[test]
fn no_promise_is_lost_to_a_kill() {
    let mut fixture = Fixture::new();
    fixture.write("pending.jpg", &photo("p"));
    fixture.settle();
    fixture.write("closed.jpg", &photo("c"));
    let open = fixture.write("open.jpg", &photo("o"));
    fixture.intake().opened_for_write(open, &path("open.jpg"));
    fixture.kill();
    fixture.open();
    fixture.settle();
    for (name, content) in [("pending.jpg", "p"), ("closed.jpg", "c"), ("open.jpg", "o")] {
        assert_eq!(fixture.state(name), pending(&photo(content)));
    }
}

#[test]
fn a_deleted_journal_costs_no_photo() {
    let mut fixture = Fixture::new();
    for number in 0..50 {
        fixture.write(
            &format!("{}/{number}.jpg", number % 5),
            &photo(&number.to_string()),
        );
    }
    fixture.settle();
    fixture.kill();
    fs::remove_file(fixture.journal_file()).unwrap();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.intake().tally().pending.files, 50);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn stopping_scans_closed_files() {
    let fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.rename("a.jpg", "b.jpg");
    fixture.intake().stop();
    assert_eq!(fixture.state("b.jpg"), pending(&photo("a")));
}

#[test]
fn a_lost_spool_does_not_empty_the_library() {
    let mut fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.settle();
    fixture.back_up_all();
    fixture.empty_outbox();
    let id = fixture.id("a.jpg");
    fixture.kill();
    fs::remove_file(fixture.place("a.jpg")).unwrap();
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.record(id), None);
    assert_eq!(fixture.empty_outbox(), []);
}

#[test]
fn changes_beyond_the_queues_limit_are_found_by_the_comparison() {
    let fixture = Fixture::with_pending_max(64);
    for number in 0..500 {
        fixture.write(&format!("{number}.jpg"), &photo(&number.to_string()));
    }
    assert!(fixture.intake().is_busy());
    fixture.settle();
    assert_eq!(fixture.intake().tally().pending.files, 500);
    assert_eq!(fixture.intake().tally(), fixture.recount());
}

#[test]
fn accepting_more_kinds_queues_skipped_files() {
    let mut fixture = Fixture::new();
    fixture.write("a.jpg", &photo("a"));
    fixture.write("a.xmp", b"<x:xmpmeta");
    fixture.write("a.txt", b"a letter");
    fixture.settle();
    assert_eq!(fixture.state("a.xmp"), local("not an image"));
    fixture.kill();
    fixture.accept = Accept::Media;
    fixture.open();
    fixture.settle();
    assert_eq!(fixture.state("a.xmp"), pending(b"<x:xmpmeta"));
    assert_eq!(
        fixture.state("a.txt"),
        local("not a photo, video or sidecar")
    );
}
