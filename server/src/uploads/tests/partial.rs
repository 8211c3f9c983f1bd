//! Shards whose senders disconnect.

use super::*;

/// Enough bytes to be kept.
const SENT: usize = 40_000;

/// A body of these bytes, after which the connection is lost.
fn disconnecting(bytes: &[u8]) -> ByteStream<'static> {
    let bytes = Bytes::copy_from_slice(bytes);
    stream::iter([
        Ok(bytes),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ])
    .boxed()
}

/// A shard whose sender disconnects after `sent` bytes.
fn interrupted(photo: &[u8], start: usize, end: usize, sent: usize) -> Shard {
    Shard {
        body: disconnecting(&photo[start..start + sent]),
        ..shard(photo, start, end)
    }
}

async fn receive_interrupted(fixture: &Fixture, caller: &Caller, shard: Shard) {
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
    receive_interrupted(&fixture, &anna, interrupted(&photo, 100_000, 200_000, SENT)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(ranges(&[(100_000, 140_000)]))
    );
    // Also for an upload that exists, and for a shard that overlaps it.
    receive_interrupted(
        &fixture,
        &anna,
        interrupted(&photo, 80_000, 180_000, 70_000),
    )
    .await;
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
    // Interrupted in the part that is being collected, and in the part that is being written.
    for sent in [SENT, 700_000] {
        let photo = photo(900_000 + sent);
        let size = photo.len();
        receive_interrupted(&fixture, &anna, interrupted(&photo, 0, size, sent)).await;
        assert_eq!(
            fixture.received(&anna, &photo).await,
            Some(ranges(&[(0, sent as u64)]))
        );
        let state = fixture
            .service
            .receive(&anna, shard(&photo, sent, size))
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
        body: shard(&photo, start, start + SENT).body,
        ..shard(&photo, start, end)
    };
    receive_interrupted(&fixture, &anna, short(0, 200_000)).await;
    receive_interrupted(&fixture, &anna, short(100_000, 200_000)).await;
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
        receive_interrupted(&fixture, &anna, interrupted(&photo, start, end, 4_095)).await;
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
    receive_interrupted(&fixture, &anna, interrupted(&photo, 0, 200_000, SENT)).await;
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
    receive_interrupted(&fixture, &anna, interrupted(&photo, 0, 200_000, SENT)).await;
    assert_eq!(
        fixture.received(&anna, &photo).await,
        None,
        "nobody would resume it"
    );
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_partial_body_with_wrong_bytes_is_detected_and_the_image_can_be_sent_again() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(200_000);
    let spoilt = Shard {
        body: disconnecting(&vec![7; SENT]),
        ..shard(&photo, 0, 200_000)
    };
    receive_interrupted(&fixture, &anna, spoilt).await;
    let end = fixture
        .service
        .receive(&anna, shard(&photo, SENT, 200_000))
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
        let sent = Bytes::copy_from_slice(&photo[start..start + SENT]);
        let until_then = stream::once(async { Ok(sent) });
        let then = stream::once(async {
            hung_up
                .await
                .map_err(|_| io::ErrorKind::ConnectionReset.into())
        });
        let body = until_then
            .chain(then.map(|end: io::Result<()>| end.map(|()| Bytes::new())))
            .boxed();
        let interrupted = Shard {
            body,
            ..shard(&photo, start, end)
        };
        let mut receiving = Box::pin(fixture.service.receive(&anna, interrupted));
        assert!(
            timeout(Duration::from_millis(100), &mut receiving)
                .await
                .is_err()
        );
        // As when the peer closes its connection.
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
            .receive(&anna, interrupted(&photo, 0, 100_000, SENT)),
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
