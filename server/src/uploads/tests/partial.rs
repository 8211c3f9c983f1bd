//! What comes of shards whose senders break off.

use super::*;

/// Enough to be kept.
const CAME: usize = 40_000;

/// These bytes, and then the connection is gone.
fn broken_off(bytes: &[u8]) -> ByteStream<'static> {
    let bytes = Bytes::copy_from_slice(bytes);
    stream::iter([
        Ok(bytes),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ])
    .boxed()
}

/// A shard of which only the first `came` bytes come.
fn cut(photo: &[u8], start: usize, end: usize, came: usize) -> Shard {
    Shard {
        body: broken_off(&photo[start..start + came]),
        ..shard(photo, start, end)
    }
}

async fn breaks(fixture: &Fixture, caller: &Caller, shard: Shard) {
    let broken = fixture.assembly.receive(caller, shard).await;
    assert!(matches!(broken, Err(UploadError::Sender(_))), "{broken:?}");
}

fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
    ranges
        .iter()
        .map(|(start, end)| ByteRange::new(*start, *end).unwrap())
        .collect()
}

#[tokio::test]
async fn what_came_of_a_shard_before_its_sender_broke_off_need_not_come_again() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    breaks(&fixture, &anna, cut(&photo, 100_000, 200_000, CAME)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(100_000, 140_000)]))
    );
    // The same of an upload that has begun, and of a shard that overlaps it.
    breaks(&fixture, &anna, cut(&photo, 80_000, 180_000, 70_000)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(80_000, 150_000)]))
    );
    fixture
        .assembly
        .receive(&anna, shard(&photo, 150_000, 200_000))
        .await
        .unwrap();
    let state = fixture
        .assembly
        .receive(&anna, shard(&photo, 0, 80_000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn what_came_of_an_image_that_was_to_come_whole_need_not_come_again() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    // Broken off in what is still collected, and in what is being written.
    for came in [CAME, 700_000] {
        let photo = photo(900_000 + came);
        let size = photo.len();
        breaks(&fixture, &anna, cut(&photo, 0, size, came)).await;
        assert_eq!(
            fixture.received(&anna, &photo).await,
            Some(ranges(&[(0, came as u64)]))
        );
        let state = fixture
            .assembly
            .receive(&anna, shard(&photo, came, size))
            .await
            .unwrap();
        assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
    }
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_one_whose_sender_broke_off() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    let short = |start: usize, end| Shard {
        body: shard(&photo, start, start + CAME).body,
        ..shard(&photo, start, end)
    };
    breaks(&fixture, &anna, short(0, 200_000)).await;
    breaks(&fixture, &anna, short(100_000, 200_000)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(0, 40_000), (100_000, 140_000)]))
    );
}

#[tokio::test]
async fn a_few_bytes_of_a_broken_shard_are_not_kept() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    for (start, end) in [(0, 200_000), (0, 100_000)] {
        breaks(&fixture, &anna, cut(&photo, start, end, 4_095)).await;
    }
    assert_eq!(fixture.received(&anna, &photo).await, None);
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn the_beginning_of_an_image_never_takes_the_place_of_what_had_arrived() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    fixture
        .assembly
        .receive(&anna, shard(&photo, 150_000, 200_000))
        .await
        .unwrap();
    breaks(&fixture, &anna, cut(&photo, 0, 200_000, CAME)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(150_000, 200_000)]))
    );
    let state = fixture
        .assembly
        .receive(&anna, shard(&photo, 0, 150_000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn the_beginning_of_an_image_that_is_whole_already_is_not_kept() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    fixture
        .assembly
        .receive(&anna, shard(&photo, 0, 200_000))
        .await
        .unwrap();
    breaks(&fixture, &anna, cut(&photo, 0, 200_000, CAME)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        None,
        "nobody would go on with it"
    );
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_beginning_that_is_not_the_images_is_found_out_and_costs_one_more_sending() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    let spoilt = Shard {
        body: broken_off(&vec![7; CAME]),
        ..shard(&photo, 0, 200_000)
    };
    breaks(&fixture, &anna, spoilt).await;
    let end = fixture
        .assembly
        .receive(&anna, shard(&photo, CAME, 200_000))
        .await;
    assert!(
        matches!(end, Err(UploadError::FingerprintMismatch { .. })),
        "{end:?}"
    );
    assert_eq!(fixture.received(&anna, &photo).await, None);
    let state = fixture
        .assembly
        .receive(&anna, shard(&photo, 0, 200_000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn a_sender_that_is_gone_does_not_take_what_came_with_it() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    for (start, end) in [(0, 200_000), (100_000, 200_000)] {
        let (hang_up, hung_up) = tokio::sync::oneshot::channel::<()>();
        let came = Bytes::copy_from_slice(&photo[start..start + CAME]);
        let until_then = stream::once(async { Ok(came) });
        let then = stream::once(async {
            hung_up
                .await
                .map_err(|_| io::ErrorKind::ConnectionReset.into())
        });
        let body = until_then
            .chain(then.map(|end: io::Result<()>| end.map(|()| Bytes::new())))
            .boxed();
        let cut = Shard {
            body,
            ..shard(&photo, start, end)
        };
        let mut receiving = Box::pin(fixture.assembly.receive(&anna, cut));
        assert!(
            timeout(Duration::from_millis(100), &mut receiving)
                .await
                .is_err()
        );
        // As a server's connection does when its peer is gone.
        drop((receiving, hang_up));
    }
    fixture.assembly.drain().await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(0, 40_000), (100_000, 140_000)]))
    );
}

#[tokio::test]
async fn who_asks_for_the_list_waits_for_what_is_on_its_way_to_the_disk() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    let held = fixture.blobs.hold_writes().await;
    let mut writing = Box::pin(
        fixture
            .assembly
            .receive(&anna, cut(&photo, 0, 100_000, CAME)),
    );
    let begun = async {
        tokio::select! {
            state = &mut writing => panic!("{state:?}"),
            permit = fixture.blobs.begun.acquire() => permit.unwrap().forget(),
        }
    };
    timeout(LIMIT, begun).await.unwrap();
    let mut asking = Box::pin(
        fixture
            .assembly
            .upload_state(&anna, Fingerprint::of(&photo)),
    );
    assert!(
        timeout(Duration::from_millis(100), &mut asking)
            .await
            .is_err()
    );
    drop(held);
    let state = timeout(LIMIT, asking).await.unwrap().unwrap();
    let received = ranges(&[(0, 40_000)]);
    assert_eq!(
        state,
        Some(UploadState::Receiving {
            size: 200_000,
            received
        })
    );
}

#[tokio::test]
async fn an_upload_that_has_all_its_bytes_is_brought_to_its_end_by_who_asks() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    fixture
        .assembly
        .receive(&anna, shard(&photo, 0, 100_000))
        .await
        .unwrap();
    fixture.blobs.fail_next("finish");
    assert!(
        fixture
            .assembly
            .receive(&anna, shard(&photo, 100_000, 200_000))
            .await
            .is_err()
    );
    let state = fixture
        .assembly
        .upload_state(&anna, Fingerprint::of(&photo))
        .await
        .unwrap();
    assert!(
        matches!(state, Some(UploadState::Stored { .. })),
        "{state:?}"
    );
}
