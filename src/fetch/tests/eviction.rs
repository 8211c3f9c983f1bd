//! Eviction: which files are evicted, and which never are.

use heirloom_protocol::message::Receipt;

use super::*;

async fn free(device: &Device, names: &[&str]) -> EvictOutcome {
    let selection = EvictSelection {
        paths: names.iter().map(|name| path(name)).collect(),
        unused_since: None,
    };
    device.fetcher.evict(selection, None).await.unwrap()
}

fn reason(outcome: &EvictOutcome) -> &KeepReason {
    let [(_, kept)] = outcome.kept.as_slice() else {
        panic!("{outcome:?}")
    };
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_photo_comes_back_when_it_is_read() {
    let device = Device::new().await;
    let content = photo(2_000_000);
    let id = device.add_backed_up("a.jpg", &content);
    let stamp = Spool::identify(&device.spool.open_read(&path("a.jpg")).unwrap())
        .unwrap()
        .1;
    let outcome = free(&device, &[]).await;
    assert_eq!((outcome.files, outcome.kept.len()), (1, 0));
    assert!(outcome.bytes > 1_900_000, "{outcome:?}");
    assert_eq!(
        device.state(id),
        FileState::Placeholder {
            fingerprint: Fingerprint::of(&content)
        }
    );
    assert_eq!(
        device.read("a.jpg", 0, 4096).await.unwrap(),
        content[..4096]
    );
    assert_eq!(device.range_requests(), 0, "its head was kept");
    assert_eq!(device.read("a.jpg", 0, 2_000_000).await.unwrap(), content);
    device
        .until("the end", |device| device.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(
        Spool::identify(&device.spool.open_read(&path("a.jpg")).unwrap())
            .unwrap()
            .1,
        stamp
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_evicted_that_the_server_does_not_confirm_now() {
    let device = Device::new().await;
    let content = photo(200_000);
    device.add_backed_up("a.jpg", &content);
    device.server.state().images.clear();
    assert!(matches!(
        reason(&free(&device, &[]).await),
        KeepReason::Unconfirmed
    ));
    assert_eq!(
        std::fs::read(device.spool.root().join("a.jpg")).unwrap(),
        content
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_evicted_while_the_server_is_away() {
    let mut device = Device::new().await;
    device.add_backed_up("a.jpg", &photo(200_000));
    device.server.stop().await;
    let error = device
        .fetcher
        .evict(EvictSelection::default(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, EvictError::Remote(_)), "{error:?}");
    assert_eq!(device.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_evicted_that_is_open_pinned_small_or_not_backed_up() {
    let device = Device::new().await;
    device.add_backed_up("open.jpg", &photo(200_000));
    let guard = device.open("open.jpg");
    assert!(matches!(
        reason(&free(&device, &["open.jpg"]).await),
        KeepReason::InUse
    ));
    drop(guard);
    device.spool.set_pin(&path("open.jpg")).unwrap();
    assert!(matches!(
        reason(&free(&device, &["open.jpg"]).await),
        KeepReason::Pinned
    ));
    device.add_backed_up("small.jpg", &photo(60_000));
    assert!(matches!(
        reason(&free(&device, &["small.jpg"]).await),
        KeepReason::TooSmall
    ));
    let id = device.add_backed_up("new.jpg", &photo(300_000));
    let record = device.journal.file(id).unwrap().unwrap();
    let pending = FileState::Pending {
        fingerprint: Fingerprint::of(&photo(300_000)),
    };
    device
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
        reason(&free(&device, &["new.jpg"]).await),
        KeepReason::NotBackedUp
    ));
    for name in ["open.jpg", "small.jpg", "new.jpg"] {
        assert_eq!(device.placeholder(name), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_evicted_that_is_open_in_the_mount_or_on_the_disk() {
    let device = Device::new().await;
    let content = photo(200_000);
    device.add_backed_up("a.jpg", &content);
    // The mount has it open for a program, and nothing on the disk says so.
    let (guard, file) = device.open("a.jpg");
    drop(file);
    assert!(matches!(
        reason(&free(&device, &[]).await),
        KeepReason::InUse
    ));
    drop(guard);
    // The disk knows of it, and the mount does not: a mapping that outlived its descriptor.
    let held = File::open(device.spool.root().join("a.jpg")).unwrap();
    assert!(matches!(
        reason(&free(&device, &[]).await),
        KeepReason::InUse
    ));
    drop(held);
    assert_eq!(free(&device, &[]).await.files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_are_kept_even_if_size_and_time_are_as_backed_up() {
    let device = Device::new().await;
    let id = device.add_backed_up("a.jpg", &photo(200_000));
    let stamp = device.journal.file(id).unwrap().unwrap().stamp;
    let place = device.spool.root().join("a.jpg");
    let changed = photo(200_001)[..200_000].to_vec();
    std::fs::write(&place, &changed).unwrap();
    let file = device.spool.open_read(&path("a.jpg")).unwrap();
    Placeholder::new(Fingerprint::of(b""), stamp)
        .restore_time(&file)
        .unwrap();
    assert_eq!(Spool::identify(&file).unwrap(), (id, stamp));
    assert!(matches!(
        reason(&free(&device, &[]).await),
        KeepReason::Changed
    ));
    assert_eq!(std::fs::read(&place).unwrap(), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_with_a_new_time_is_not_evicted_before_the_library_knows_it() {
    let device = Device::new().await;
    let id = device.add_backed_up("a.jpg", &photo(200_000));
    let stamp = Stamp {
        mtime_ns: TIME_NS,
        ..device.journal.file(id).unwrap().unwrap().stamp
    };
    Placeholder::new(Fingerprint::of(b""), stamp)
        .restore_time(&device.spool.open_read(&path("a.jpg")).unwrap())
        .unwrap();
    assert!(matches!(
        reason(&free(&device, &[]).await),
        KeepReason::Changed
    ));
    assert_eq!(device.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_file_waits_while_it_is_evicted() {
    let device = Device::new().await;
    let id = device.add_backed_up("a.jpg", &photo(200_000));
    let evicting = device.fetcher.open_files.begin_evict(id).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(device.open("a.jpg").0.id()).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
        drop(evicting);
        assert_eq!(receiver.recv_timeout(DEADLINE), Ok(id));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn only_selected_files_are_evicted() {
    let device = Device::new().await;
    std::fs::create_dir_all(device.spool.root().join("trip/day")).unwrap();
    for name in ["trip/day/a.jpg", "trip/b.jpg", "tripod.jpg"] {
        device.add_backed_up(name, &photo(100_000 + name.len()));
    }
    assert_eq!(free(&device, &["trip"]).await.files, 2);
    assert_eq!(device.placeholder("tripod.jpg"), None);
    let long_ago = crate::spool::Timespec {
        seconds: 1,
        nanoseconds: 0,
    };
    let selection = EvictSelection {
        paths: Vec::new(),
        unused_since: Some(long_ago),
    };
    assert_eq!(
        device.fetcher.evict(selection, None).await.unwrap().files,
        0,
        "it was used since"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_evicts_the_least_recently_used_photos_without_the_network() {
    let mut device = Device::new().await;
    for (number, name) in ["old.jpg", "older.jpg", "new.jpg"].into_iter().enumerate() {
        device.add_backed_up(name, &photo(20_000_000 + number));
    }
    let used = |name: &str, seconds| {
        let file = device.spool.open_read(&path(name)).unwrap();
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
    device.server.stop().await;
    let fetcher = device.fetcher.clone();
    assert!(
        tokio::task::spawn_blocking(move || fetcher.free_space(1_000_000))
            .await
            .unwrap()
    );
    let evicted =
        ["older.jpg", "old.jpg", "new.jpg"].map(|name| device.placeholder(name).is_some());
    assert_eq!(evicted, [true, true, false], "20 MB and 20 MB make 33 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_evicted_without_a_receipt() {
    let device = Device::new().await;
    let content = photo(20_000_000);
    device.add_backed_up("a.jpg", &content);
    device
        .journal
        .forget_receipts(vec![Fingerprint::of(&content)])
        .unwrap();
    let fetcher = device.fetcher.clone();
    assert!(
        !tokio::task::spawn_blocking(move || fetcher.free_space(1))
            .await
            .unwrap()
    );
    assert_eq!(device.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_evicted_with_a_receipt_for_other_bytes() {
    let device = Device::new().await;
    let content = photo(20_000_000);
    device.add_backed_up("a.jpg", &content);
    let receipt = crate::remote::fake::receipt(&content);
    device
        .journal
        .add_receipts(vec![Receipt {
            size: receipt.size - 1,
            ..receipt
        }])
        .unwrap();
    let fetcher = device.fetcher.clone();
    assert!(
        !tokio::task::spawn_blocking(move || fetcher.free_space(1))
            .await
            .unwrap()
    );
    assert_eq!(device.placeholder("a.jpg"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_stays_within_its_maximum_size() {
    let device = Device::new().await;
    for number in 0..5 {
        let content = photo(1_000_000 + number);
        device.add_backed_up(&format!("{number}.jpg"), &content);
        device
            .journal
            .forget_receipts(vec![Fingerprint::of(&content)])
            .unwrap();
    }
    let (_backed_up, backed_up) = watch::channel(0);
    device.fetcher.enforce_cache_policy(
        CachePolicy {
            cache_max: Some(SizeOrPercent::Bytes(2_100_000)),
            free_min: None,
        },
        backed_up,
    );
    device
        .until("the cache to shrink", |device| {
            device.journal.tally().backed_up.bytes <= 2_100_000
        })
        .await;
    assert_eq!(
        device.journal.tally().placeholder.files,
        3,
        "no more than had to"
    );
}
