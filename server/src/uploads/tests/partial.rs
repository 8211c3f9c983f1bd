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
    let broken = fixture.service.receive(caller, shard).await;
    assert!(matches!(broken, Err(UploadError::Sender(_))), "{broken:?}");
}

fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
    ranges
        .iter()
        .map(|(start, end)| ByteRange::new(*start, *end).unwrap())
        .collect()
}

#[tokio::test]
async fn the_received_part_of_an_interrupted_shard_is_kept() {
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
        .service
        .receive(&anna, shard(&photo, 150_000, 200_000))
        .await
        .unwrap();
    let state = fixture
        .service
        .receive(&anna, shard(&photo, 0, 80_000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn the_received_part_of_an_image_sent_whole_is_kept() {
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
            .service
            .receive(&anna, shard(&photo, came, size))
            .await
            .unwrap();
        assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
    }
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_body_that_ends_early_counts_as_interrupted() {
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
async fn a_few_bytes_of_an_interrupted_shard_are_not_kept() {
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
async fn a_partial_body_never_replaces_shards_that_arrived_before() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    fixture
        .service
        .receive(&anna, shard(&photo, 150_000, 200_000))
        .await
        .unwrap();
    breaks(&fixture, &anna, cut(&photo, 0, 200_000, CAME)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(150_000, 200_000)]))
    );
    let state = fixture
        .service
        .receive(&anna, shard(&photo, 0, 150_000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn a_partial_body_of_a_stored_image_is_not_kept() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    fixture
        .service
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
async fn a_partial_body_with_wrong_bytes_is_detected_and_the_image_can_be_sent_again() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    let spoilt = Shard {
        body: broken_off(&vec![7; CAME]),
        ..shard(&photo, 0, 200_000)
    };
    breaks(&fixture, &anna, spoilt).await;
    let end = fixture
        .service
        .receive(&anna, shard(&photo, CAME, 200_000))
        .await;
    assert!(
        matches!(end, Err(UploadError::FingerprintMismatch { .. })),
        "{end:?}"
    );
    assert_eq!(fixture.received(&anna, &photo).await, None);
    let state = fixture
        .service
        .receive(&anna, shard(&photo, 0, 200_000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn received_bytes_are_kept_although_the_request_was_dropped() {
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
        let mut receiving = Box::pin(fixture.service.receive(&anna, cut));
        assert!(
            timeout(Duration::from_millis(100), &mut receiving)
                .await
                .is_err()
        );
        // As a server's connection does when its peer is gone.
        drop((receiving, hang_up));
    }
    fixture.service.drain().await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(0, 40_000), (100_000, 140_000)]))
    );
}

#[tokio::test]
async fn the_upload_state_waits_for_writes_in_progress() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    let held = fixture.blobs.hold_writes().await;
    let mut writing = Box::pin(
        fixture
            .service
            .receive(&anna, cut(&photo, 0, 100_000, CAME)),
    );
    let begun = async {
        tokio::select! {
            state = &mut writing => panic!("{state:?}"),
            permit = fixture.blobs.begun.acquire() => permit.unwrap().forget(),
        }
    };
    timeout(LIMIT, begun).await.unwrap();
    let mut asking = Box::pin(fixture.service.upload_state(&anna, Fingerprint::of(&photo)));
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
async fn asking_for_the_state_of_a_complete_upload_finishes_it() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 100_000))
        .await
        .unwrap();
    fixture.blobs.fail_next("finish");
    assert!(
        fixture
            .service
            .receive(&anna, shard(&photo, 100_000, 200_000))
            .await
            .is_err()
    );
    let state = fixture
        .service
        .upload_state(&anna, Fingerprint::of(&photo))
        .await
        .unwrap();
    assert!(
        matches!(state, Some(UploadState::Stored { .. })),
        "{state:?}"
    );
}
