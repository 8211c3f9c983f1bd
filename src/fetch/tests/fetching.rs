//! Fetching: what is fetched and when, and what the file is then.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_fetched_photo_is_an_ordinary_file_with_its_old_time() {
    let device = Device::new().await;
    let content = photo(5_000_000);
    let id = device.add_placeholder("a.jpg", &content);
    let (guard, file) = device.open("a.jpg");
    assert_eq!(
        read(&guard, &file, 4_000_000, 1000).await.unwrap(),
        content[4_000_000..4_001_000]
    );
    whole(&guard).await.unwrap();
    assert!(guard.placeholder().unwrap().is_complete());
    assert_eq!(read(&guard, &file, 0, 5_000_000).await.unwrap(), content);
    assert_eq!(device.placeholder("a.jpg"), None);
    assert_eq!(
        Spool::identify(&file).unwrap().1,
        Stamp {
            size: 5_000_000,
            mtime_ns: TIME_NS
        }
    );
    device
        .until("the journal", |device| {
            device.state(id)
                == FileState::BackedUp {
                    fingerprint: Fingerprint::of(&content),
                }
        })
        .await;
    let (again, _) = device.open("a.jpg");
    assert!(
        again.placeholder().is_none(),
        "it is no placeholder any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_past_the_head_returns_at_once_and_the_rest_follows_by_itself() {
    let device = Device::new().await;
    let content = photo(3_000_000);
    device.add_placeholder("a.jpg", &content);
    let (guard, file) = device.open("a.jpg");
    assert_eq!(
        read(&guard, &file, 100_000, 10).await.unwrap(),
        content[100_000..100_010]
    );
    device
        .until("the rest", |device| device.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(read(&guard, &file, 0, 3_000_000).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_the_head_fetches_it_once_and_keeps_it() {
    let device = Device::new().await;
    let content = photo(10_000_000);
    device.add_placeholder("a.jpg", &content);
    for _ in 0..3 {
        assert_eq!(
            device.read("a.jpg", 0, 4096).await.unwrap(),
            content[..4096]
        );
        assert_eq!(
            device.read("a.jpg", 60_000, 4096).await.unwrap(),
            content[60_000..64_096]
        );
    }
    assert_eq!(device.range_requests(), 1);
    assert_eq!(
        device.placeholder("a.jpg").unwrap().held.byte_count(),
        HEAD_BYTES
    );
    assert_eq!(device.fetcher.status().fetched_bytes, HEAD_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_placeholder_fetches_nothing() {
    let device = Device::new().await;
    let id = device.add_placeholder("a.jpg", &photo(100_000));
    let (guard, file) = device.open("a.jpg");
    assert_eq!(
        device.fetcher.stamp_during_fetch(id),
        Some(Spool::identify(&file).unwrap().1)
    );
    drop(guard);
    assert_eq!(device.fetcher.stamp_during_fetch(id), None);
    assert_eq!(device.range_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_ranges_survive_a_restart() {
    let mut device = Device::new().await;
    let content = photo(8_000_000);
    device.add_placeholder("a.jpg", &content);
    {
        let (guard, file) = device.open("a.jpg");
        read(&guard, &file, 1 << 20, 10).await.unwrap();
    }
    device.restart();
    let held = device.placeholder("a.jpg").unwrap().held;
    assert!(
        held.contains(ByteRange::new(1 << 20, 2 << 20).unwrap()),
        "{held:?}"
    );
    let before = device.server.state().requests.len();
    let (guard, file) = device.open("a.jpg");
    whole(&guard).await.unwrap();
    assert_eq!(read(&guard, &file, 0, 8_000_000).await.unwrap(), content);
    let asked = device.server.state().requests.split_off(before).len();
    assert!(
        asked <= 8 - usize::try_from(held.byte_count() >> 20).unwrap(),
        "what is here is not fetched again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_just_before_verification_fetches_no_byte_again() {
    let device = Device::new().await;
    let content = photo(50_000);
    device.add_placeholder("a.jpg", &content);
    let file = device
        .spool
        .open_file(
            &path("a.jpg"),
            OpenOptions {
                access: Access::ReadWrite,
                ..READING
            },
        )
        .unwrap();
    file.write_all_at(&content, 0).unwrap();
    let mut found = device.placeholder("a.jpg").unwrap();
    found.held = heirloom_protocol::RangeSet::whole(50_000);
    found.write_to(&file).unwrap();
    let guard = device.open("a.jpg");
    device
        .until("the end", |device| device.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(device.range_requests(), 0);
    drop(guard);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_one_photo_share_one_fetch() {
    let device = Device::with_read_timeout(DEADLINE).await;
    let content = photo(6_000_000);
    device.add_placeholder("a.jpg", &content);
    let reads = (0..40).map(|number| device.read("a.jpg", number * 149_000, 1000));
    for (number, bytes) in futures_util::future::join_all(reads)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(bytes.unwrap(), content[number * 149_000..][..1000]);
    }
    let (guard, _) = device.open("a.jpg");
    if guard.placeholder().is_some() {
        whole(&guard).await.unwrap();
    }
    assert_eq!(
        device.fetcher.status().fetched_bytes,
        6_000_000,
        "no byte came twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_photo_is_fetched_too() {
    let device = Device::new().await;
    let content = photo(200_000);
    device.add_placeholder("a.jpg", &content);
    crate::spool::set_mode(device.spool.open_read(&path("a.jpg")).unwrap(), 0o400).unwrap();
    assert_eq!(device.read("a.jpg", 0, 200_000).await.unwrap(), content);
    device
        .until("the end", |device| device.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(
        crate::spool::Metadata::of(device.open("a.jpg").1)
            .unwrap()
            .mode,
        0o400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_the_owner_sets_survives_the_fetch() {
    let device = Device::new().await;
    let id = device.add_placeholder("a.jpg", &photo(200_000));
    let stamp = Stamp {
        size: 200_000,
        mtime_ns: 42,
    };
    let (guard, file) = device.open("a.jpg");
    device.fetcher.set_mtime(id, &file, stamp).unwrap();
    whole(&guard).await.unwrap();
    assert_eq!(Spool::identify(&file).unwrap().1, stamp);
    device.add_placeholder("b.jpg", &photo(1000));
    let file = device.spool.open_read(&path("b.jpg")).unwrap();
    device
        .fetcher
        .set_mtime(
            Spool::identify(&file).unwrap().0,
            &file,
            Stamp {
                size: 1000,
                mtime_ns: 43,
            },
        )
        .unwrap();
    assert_eq!(device.placeholder("b.jpg").unwrap().stamp.mtime_ns, 43);
}
