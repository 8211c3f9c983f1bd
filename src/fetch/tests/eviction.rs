//! Giving room up: what goes, and what never does.

use heirloom_protocol::message::Receipt;

use super::*;

async fn free(house: &House, names: &[&str]) -> EvictOutcome {
    let selection = EvictSelection {
        paths: names.iter().map(|name| path(name)).collect(),
        unused_since: None,
    };
    house.fetcher.evict(selection, None).await.unwrap()
}

fn reason(freed: &EvictOutcome) -> &KeepReason {
    let [(_, kept)] = freed.kept.as_slice() else {
        panic!("{freed:?}")
    };
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_gives_its_room_up_and_comes_back_when_it_is_read() {
    let house = House::new().await;
    let content = photo(2_000_000);
    let id = house.backed_up("a.jpg", &content);
    let stamp = Spool::identify(&house.spool.open_read(&path("a.jpg")).unwrap())
        .unwrap()
        .1;
    let freed = free(&house, &[]).await;
    assert_eq!((freed.files, freed.kept.len()), (1, 0));
    assert!(freed.bytes > 1_900_000, "{freed:?}");
    assert_eq!(
        house.state(id),
        FileState::Placeholder {
            fingerprint: Fingerprint::of(&content)
        }
    );
    assert_eq!(house.read("a.jpg", 0, 4096).await.unwrap(), content[..4096]);
    assert_eq!(house.parts_asked(), 0, "its head was kept");
    assert_eq!(house.read("a.jpg", 0, 2_000_000).await.unwrap(), content);
    house
        .until("the end", |house| house.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(
        Spool::identify(&house.spool.open_read(&path("a.jpg")).unwrap())
            .unwrap()
            .1,
        stamp
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_the_server_does_not_confirm_now() {
    let house = House::new().await;
    let content = photo(200_000);
    house.backed_up("a.jpg", &content);
    house.server.state().images.clear();
    assert!(matches!(
        reason(&free(&house, &[]).await),
        KeepReason::Unconfirmed
    ));
    assert_eq!(
        std::fs::read(house.spool.root().join("a.jpg")).unwrap(),
        content
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_while_the_server_is_away() {
    let mut house = House::new().await;
    house.backed_up("a.jpg", &photo(200_000));
    house.server.stop().await;
    let error = house
        .fetcher
        .evict(EvictSelection::default(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, EvictError::Remote(_)), "{error:?}");
    assert_eq!(house.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_is_open_pinned_small_or_not_backed_up() {
    let house = House::new().await;
    house.backed_up("open.jpg", &photo(200_000));
    let opened = house.open("open.jpg");
    assert!(matches!(
        reason(&free(&house, &["open.jpg"]).await),
        KeepReason::InUse
    ));
    drop(opened);
    house.spool.set_pin(&path("open.jpg")).unwrap();
    assert!(matches!(
        reason(&free(&house, &["open.jpg"]).await),
        KeepReason::Pinned
    ));
    house.backed_up("small.jpg", &photo(60_000));
    assert!(matches!(
        reason(&free(&house, &["small.jpg"]).await),
        KeepReason::Small
    ));
    let id = house.backed_up("new.jpg", &photo(300_000));
    let record = house.journal.file(id).unwrap().unwrap();
    let pending = FileState::Pending {
        fingerprint: Fingerprint::of(&photo(300_000)),
    };
    house
        .journal
        .record(vec![(
            id,
            FileRecord {
                state: pending,
                ..record
            },
        )])
        .unwrap();
    assert!(matches!(
        reason(&free(&house, &["new.jpg"]).await),
        KeepReason::NotBackedUp
    ));
    for name in ["open.jpg", "small.jpg", "new.jpg"] {
        assert_eq!(house.placeholder(name), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_is_open_to_the_mount_or_to_anybody_else() {
    let house = House::new().await;
    let content = photo(200_000);
    house.backed_up("a.jpg", &content);
    // The mount has it open for a program, and nothing on the disk says so.
    let (opened, file) = house.open("a.jpg");
    drop(file);
    assert!(matches!(
        reason(&free(&house, &[]).await),
        KeepReason::InUse
    ));
    drop(opened);
    // The disk knows of it, and the mount does not: a mapping that outlived its descriptor.
    let held = File::open(house.spool.root().join("a.jpg")).unwrap();
    assert!(matches!(
        reason(&free(&house, &[]).await),
        KeepReason::InUse
    ));
    drop(held);
    assert_eq!(free(&house, &[]).await.files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_what_was_backed_up_are_kept_whatever_their_size_and_time_say() {
    let house = House::new().await;
    let id = house.backed_up("a.jpg", &photo(200_000));
    let stamp = house.journal.file(id).unwrap().unwrap().stamp;
    let place = house.spool.root().join("a.jpg");
    let changed = photo(200_001)[..200_000].to_vec();
    std::fs::write(&place, &changed).unwrap();
    let file = house.spool.open_read(&path("a.jpg")).unwrap();
    Placeholder::new(Fingerprint::of(b""), stamp)
        .restore_time(&file)
        .unwrap();
    assert_eq!(Spool::identify(&file).unwrap(), (id, stamp));
    assert!(matches!(
        reason(&free(&house, &[]).await),
        KeepReason::Changed
    ));
    assert_eq!(std::fs::read(&place).unwrap(), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_whose_time_was_set_since_its_backup_keeps_its_bytes_until_the_library_knows() {
    let house = House::new().await;
    let id = house.backed_up("a.jpg", &photo(200_000));
    let stamp = Stamp {
        mtime_ns: TIME_NS,
        ..house.journal.file(id).unwrap().unwrap().stamp
    };
    Placeholder::new(Fingerprint::of(b""), stamp)
        .restore_time(&house.spool.open_read(&path("a.jpg")).unwrap())
        .unwrap();
    assert!(matches!(
        reason(&free(&house, &[]).await),
        KeepReason::Changed
    ));
    assert_eq!(house.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_a_photo_that_is_giving_its_room_up_waits_until_it_has() {
    let house = House::new().await;
    let id = house.backed_up("a.jpg", &photo(200_000));
    let hollowing = house.fetcher.inside.desk.hollow(id).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(house.open("a.jpg").0.id()).unwrap());
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
        drop(hollowing);
        assert_eq!(told.recv_timeout(SURELY), Ok(id));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_named_goes() {
    let house = House::new().await;
    std::fs::create_dir_all(house.spool.root().join("trip/day")).unwrap();
    for name in ["trip/day/a.jpg", "trip/b.jpg", "tripod.jpg"] {
        house.backed_up(name, &photo(100_000 + name.len()));
    }
    assert_eq!(free(&house, &["trip"]).await.files, 2);
    assert_eq!(house.placeholder("tripod.jpg"), None);
    let long_ago = crate::spool::Timespec {
        seconds: 1,
        nanoseconds: 0,
    };
    let selection = EvictSelection {
        paths: Vec::new(),
        unused_since: Some(long_ago),
    };
    assert_eq!(
        house.fetcher.evict(selection, None).await.unwrap().files,
        0,
        "it was used since"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_made_without_the_network_by_those_that_were_not_used_for_long() {
    let mut house = House::new().await;
    for (number, name) in ["old.jpg", "older.jpg", "new.jpg"].into_iter().enumerate() {
        house.backed_up(name, &photo(20_000_000 + number));
    }
    let used = |name: &str, seconds| {
        let file = house.spool.open_read(&path(name)).unwrap();
        let at = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let kept = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        };
        let times = rustix::fs::Timestamps {
            last_access: at,
            last_modification: kept,
        };
        crate::spool::set_times(&file, &times).unwrap();
    };
    // Times of access beyond those of change, which are now.
    let now = 4_000_000_000;
    used("older.jpg", now);
    used("old.jpg", now + 10);
    used("new.jpg", now + 20);
    house.server.stop().await;
    let fetcher = house.fetcher.clone();
    assert!(
        tokio::task::spawn_blocking(move || fetcher.free_space(1_000_000))
            .await
            .unwrap()
    );
    let hollow = ["older.jpg", "old.jpg", "new.jpg"].map(|name| house.placeholder(name).is_some());
    assert_eq!(hollow, [true, true, false], "20 MB and 20 MB make 33 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receipt_no_room_is_made() {
    let house = House::new().await;
    let content = photo(20_000_000);
    house.backed_up("a.jpg", &content);
    house
        .journal
        .forget_receipts(vec![Fingerprint::of(&content)])
        .unwrap();
    let fetcher = house.fetcher.clone();
    assert!(
        !tokio::task::spawn_blocking(move || fetcher.free_space(1))
            .await
            .unwrap()
    );
    assert_eq!(house.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_receipt_for_other_bytes_no_room_is_made() {
    let house = House::new().await;
    let content = photo(20_000_000);
    house.backed_up("a.jpg", &content);
    let receipt = crate::remote::fake::receipt(&content);
    house
        .journal
        .add_receipts(vec![Receipt {
            size: receipt.size - 1,
            ..receipt
        }])
        .unwrap();
    let fetcher = house.fetcher.clone();
    assert!(
        !tokio::task::spawn_blocking(move || fetcher.free_space(1))
            .await
            .unwrap()
    );
    assert_eq!(house.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_a_size_stays_within_it() {
    let house = House::new().await;
    for number in 0..5 {
        let content = photo(1_000_000 + number);
        house.backed_up(&format!("{number}.jpg"), &content);
        house
            .journal
            .forget_receipts(vec![Fingerprint::of(&content)])
            .unwrap();
    }
    let (_news, hears) = watch::channel(0);
    house.fetcher.enforce_cache_policy(
        CachePolicy {
            cache: Some(SizeOrPercent::Bytes(2_100_000)),
            floor: None,
        },
        hears,
    );
    house
        .until("room", |house| {
            house.journal.tally().backed_up.bytes <= 2_100_000
        })
        .await;
    assert_eq!(
        house.journal.tally().placeholder.files,
        3,
        "no more than had to"
    );
}
