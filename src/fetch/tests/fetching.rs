//! What comes, when, and what the file is then.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_is_read_comes_back_and_is_an_ordinary_file_with_its_old_time() {
    let house = House::new().await;
    let content = photo(5_000_000);
    let id = house.absent("a.jpg", &content);
    let (opened, file) = house.open("a.jpg");
    assert_eq!(
        read(&opened, &file, 4_000_000, 1000).await.unwrap(),
        content[4_000_000..4_001_000]
    );
    whole(&opened).await.unwrap();
    assert!(opened.placeholder().unwrap().is_complete());
    assert_eq!(read(&opened, &file, 0, 5_000_000).await.unwrap(), content);
    assert_eq!(house.placeholder("a.jpg"), None);
    assert_eq!(
        Spool::identify(&file).unwrap().1,
        Stamp {
            size: 5_000_000,
            mtime_ns: TIME_NS
        }
    );
    house
        .until("the journal", |house| {
            house.state(id)
                == FileState::BackedUp {
                    fingerprint: Fingerprint::of(&content),
                }
        })
        .await;
    let (again, _) = house.open("a.jpg");
    assert!(
        again.placeholder().is_none(),
        "it is not looked at as a placeholder any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_on_is_served_while_the_rest_comes_and_need_not_ask_for_it() {
    let house = House::new().await;
    let content = photo(3_000_000);
    house.absent("a.jpg", &content);
    let (opened, file) = house.open("a.jpg");
    assert_eq!(
        read(&opened, &file, 100_000, 10).await.unwrap(),
        content[100_000..100_010]
    );
    house
        .until("the rest", |house| house.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(read(&opened, &file, 0, 3_000_000).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn sniffing_fetches_the_head_once_and_keeps_it() {
    let house = House::new().await;
    let content = photo(10_000_000);
    house.absent("a.jpg", &content);
    for _ in 0..3 {
        assert_eq!(house.read("a.jpg", 0, 4096).await.unwrap(), content[..4096]);
        assert_eq!(
            house.read("a.jpg", 60_000, 4096).await.unwrap(),
            content[60_000..64_096]
        );
    }
    assert_eq!(house.parts_asked(), 1);
    assert_eq!(
        house.placeholder("a.jpg").unwrap().held.byte_count(),
        HEAD_BYTES
    );
    assert_eq!(house.fetcher.status().fetched_bytes, HEAD_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_placeholder_fetches_nothing() {
    let house = House::new().await;
    let id = house.absent("a.jpg", &photo(100_000));
    let (opened, file) = house.open("a.jpg");
    assert_eq!(
        house.fetcher.stamp_during_fetch(id),
        Some(Spool::identify(&file).unwrap().1)
    );
    drop(opened);
    assert_eq!(house.fetcher.stamp_during_fetch(id), None);
    assert_eq!(house.parts_asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_survives_a_restart() {
    let mut house = House::new().await;
    let content = photo(8_000_000);
    house.absent("a.jpg", &content);
    {
        let (opened, file) = house.open("a.jpg");
        read(&opened, &file, 1 << 20, 10).await.unwrap();
    }
    house.start_again();
    let held = house.placeholder("a.jpg").unwrap().held;
    assert!(
        held.contains(ByteRange::new(1 << 20, 2 << 20).unwrap()),
        "{held:?}"
    );
    let before = house.server.state().requests.len();
    let (opened, file) = house.open("a.jpg");
    whole(&opened).await.unwrap();
    assert_eq!(read(&opened, &file, 0, 8_000_000).await.unwrap(), content);
    let asked = house.server.state().requests.split_off(before).len();
    assert!(
        asked <= 8 - usize::try_from(held.byte_count() >> 20).unwrap(),
        "what is here is not fetched again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_just_before_the_end_costs_no_byte() {
    let house = House::new().await;
    let content = photo(50_000);
    house.absent("a.jpg", &content);
    let file = house
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
    let mut found = house.placeholder("a.jpg").unwrap();
    found.held = heirloom_protocol::RangeSet::whole(50_000);
    found.write_to(&file).unwrap();
    let opened = house.open("a.jpg");
    house
        .until("the end", |house| house.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(house.parts_asked(), 0);
    drop(opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_one_photo_share_what_comes() {
    let house = House::with_patience(SURELY).await;
    let content = photo(6_000_000);
    house.absent("a.jpg", &content);
    let reads = (0..40).map(|number| house.read("a.jpg", number * 149_000, 1000));
    for (number, bytes) in futures_util::future::join_all(reads)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(bytes.unwrap(), content[number * 149_000..][..1000]);
    }
    let (opened, _) = house.open("a.jpg");
    if opened.placeholder().is_some() {
        whole(&opened).await.unwrap();
    }
    assert_eq!(
        house.fetcher.status().fetched_bytes,
        6_000_000,
        "no byte came twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_is_read_only_for_its_owner_comes_back_too() {
    let house = House::new().await;
    let content = photo(200_000);
    house.absent("a.jpg", &content);
    crate::spool::set_mode(house.spool.open_read(&path("a.jpg")).unwrap(), 0o400).unwrap();
    assert_eq!(house.read("a.jpg", 0, 200_000).await.unwrap(), content);
    house
        .until("the end", |house| house.placeholder("a.jpg").is_none())
        .await;
    assert_eq!(
        crate::spool::Metadata::of(house.open("a.jpg").1)
            .unwrap()
            .mode,
        0o400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_its_owner_sets_is_kept_when_the_photo_comes() {
    let house = House::new().await;
    let id = house.absent("a.jpg", &photo(200_000));
    let stamp = Stamp {
        size: 200_000,
        mtime_ns: 42,
    };
    let (opened, file) = house.open("a.jpg");
    house.fetcher.set_mtime(id, &file, stamp).unwrap();
    whole(&opened).await.unwrap();
    assert_eq!(Spool::identify(&file).unwrap().1, stamp);
    house.absent("b.jpg", &photo(1000));
    let file = house.spool.open_read(&path("b.jpg")).unwrap();
    house
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
    assert_eq!(house.placeholder("b.jpg").unwrap().stamp.mtime_ns, 43);
}
