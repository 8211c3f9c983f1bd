//! Uploads when the disk fails, the sender disconnects, or memory is short.

mod partial;
mod gc;
mod proofs;
mod recording_blobs;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use heirloom_protocol::batch::{BatchEntry, BatchHeader, BatchOutcome};
use heirloom_protocol::message::{CrossUser, Scope};
use heirloom_protocol::possession::{Proof, Prover};
use heirloom_protocol::{ContentDigest, RangeSet};
use tempfile::TempDir;
use tokio::time::timeout;

use std::sync::Arc;

use heirloom_protocol::message::{CheckImage, CheckedImage, UploadState};
use heirloom_protocol::{ByteRange, Fingerprint, ShardSize};

use super::*;
use crate::accounts::Caller;
use crate::blobs::LocalBlobStore;
use crate::blobs::{BlobError, BlobStore, ByteStream, UploadKey};
use crate::clock::Clock;
use crate::config::DataDir;
use crate::gc::GarbageCollector;
use crate::index::TokenId;
use crate::index::{Index, IndexError};
use crate::metrics::SharedCounters;
use crate::possession::PROOF_FAILURES_PER_DAY;
use crate::possession::Possession;
use recording_blobs::RecordingBlobs;

const LIMIT: Duration = Duration::from_secs(30);

/// An upload service over a blob store that records calls and fails on request.
struct Fixture {
    service: UploadService,
    blobs: Arc<RecordingBlobs>,
    index: Index,
    data: TempDir,
}

impl Fixture {
    async fn open() -> Self {
        Self::with(CrossUser::Proof).await
    }

    async fn with(policy: CrossUser) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = DataDir::open(data.path()).unwrap();
        let index = Index::open(&folder.index_url()).await.unwrap();
        let blobs = Arc::new(RecordingBlobs::new(
            LocalBlobStore::open(&folder).await.unwrap(),
        ));
        let (clock, counters) = (Clock::default(), SharedCounters::default());
        let store: Arc<dyn BlobStore> = blobs.clone();
        let possession = Possession::new(
            policy,
            [1; 32],
            index.clone(),
            Arc::clone(&store),
            clock.clone(),
            Arc::clone(&counters),
        );
        let gc = GarbageCollector::new(
            index.clone(),
            Arc::clone(&store),
            clock.clone(),
            Arc::clone(&counters),
        );
        let service = UploadService::new(index.clone(), store, possession, gc, clock, counters);
        Self {
            service,
            blobs,
            index,
            data,
        }
    }

    async fn user(&self, name: &str) -> Caller {
        let user = self.index.add_user(name).await.unwrap();
        Caller {
            user,
            token: TokenId(user.0),
            name: name.to_owned(),
            scope: Scope::Full,
            quota: None,
        }
    }

    async fn received(&self, caller: &Caller, photo: &[u8]) -> Option<RangeSet> {
        let key = UploadKey {
            user: caller.user,
            fingerprint: Fingerprint::of(photo),
        };
        self.service
            .upload_of(key)
            .await
            .unwrap()
            .map(|upload| upload.received)
    }
}

fn photo(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

fn shard(photo: &[u8], start: usize, end: usize) -> Shard {
    let bytes = Bytes::copy_from_slice(&photo[start..end]);
    Shard {
        fingerprint: Fingerprint::of(photo),
        size: photo.len() as u64,
        range: ByteRange::new(start as u64, end as u64).unwrap(),
        digest: ContentDigest::of(&bytes),
        body: stream::once(async { Ok(bytes) }).boxed(),
    }
}

#[tokio::test]
async fn a_shard_whose_write_failed_is_not_in_the_list() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    fixture.blobs.fail_next("write");
    let failed = fixture.service.receive(&anna, shard(&photo, 0, 500)).await;
    assert!(
        matches!(failed, Err(UploadError::Blobs { .. })),
        "{failed:?}"
    );
    assert_eq!(fixture.received(&anna, &photo).await, None);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    assert_eq!(
        fixture.received(&anna, &photo).await,
        Some(RangeSet::whole(500))
    );
}

#[tokio::test]
async fn the_next_shard_finishes_an_upload_whose_finish_failed() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    fixture.blobs.fail_next("finish");
    assert!(
        fixture
            .service
            .receive(&anna, shard(&photo, 500, 1000))
            .await
            .is_err()
    );
    // The list kept what had arrived, so any shard brings it to its end, and none is written again.
    let writes = fixture.blobs.count("write");
    let state = fixture
        .service
        .receive(&anna, shard(&photo, 0, 10))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
    assert_eq!(fixture.blobs.count("write"), writes);
}

#[tokio::test]
async fn a_write_keeps_its_lock_after_its_sender_disconnects() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let held = fixture.blobs.hold_writes().await;
    let mut dropped_request = Box::pin(fixture.service.receive(&anna, shard(&photo, 0, 600)));
    let begun = async {
        tokio::select! {
            state = &mut dropped_request => panic!("{state:?}"),
            permit = fixture.blobs.begun.acquire() => permit.unwrap().forget(),
        }
    };
    timeout(LIMIT, begun).await.unwrap();
    drop(dropped_request);
    // Another writer of that range waits, although the first request is gone.
    let mut next = Box::pin(fixture.service.receive(&anna, shard(&photo, 300, 1000)));
    assert!(
        timeout(Duration::from_millis(100), &mut next)
            .await
            .is_err()
    );
    assert_eq!(fixture.blobs.count("write"), 1);
    drop(held);
    let state = timeout(LIMIT, next).await.unwrap().unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
    assert_eq!(
        fixture.blobs.count("write"),
        2,
        "each byte was written once"
    );
}

#[tokio::test]
async fn an_image_sent_whole_waits_for_parts_that_are_being_written() {
    for sent in [900_000, 100_000] {
        let fixture = Fixture::open().await;
        let anna = fixture.user("anna").await;
        let photo = photo(900_000);
        let held = fixture.blobs.hold_writes().await;
        let mut writing = Box::pin(
            fixture
                .service
                .receive(&anna, shard(&photo, 500_000, 600_000)),
        );
        let begun = async {
            tokio::select! {
                state = &mut writing => panic!("{state:?}"),
                permit = fixture.blobs.begun.acquire() => permit.unwrap().forget(),
            }
        };
        timeout(LIMIT, begun).await.unwrap();
        // All of it, or only its first part before the sender disconnects.
        let body = shard(&photo, 0, sent).body;
        let mut whole = Box::pin(fixture.service.receive(
            &anna,
            Shard {
                body,
                ..shard(&photo, 0, 900_000)
            },
        ));
        assert!(
            timeout(Duration::from_millis(200), &mut whole)
                .await
                .is_err()
        );
        drop(held);
        let (part, whole) = timeout(LIMIT, async { tokio::join!(writing, whole) })
            .await
            .unwrap();
        part.unwrap();
        assert_eq!(whole.is_ok(), sent == 900_000, "{whole:?}");
        let left = usize::from(sent < 900_000);
        assert_eq!(
            fixture.blobs.uploads().await.unwrap().len(),
            left,
            "no part is left besides the image"
        );
    }
}

#[tokio::test]
async fn a_shard_of_a_finished_image_leaves_nothing() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let (go_on, gone_on) = tokio::sync::oneshot::channel::<()>();
    let (asked, was_asked) = tokio::sync::oneshot::channel::<()>();
    let late = shard(&photo, 0, 500);
    let body = stream::once(async {
        asked
            .send(())
            .map_err(|()| io::Error::other("nobody waits"))
    })
    .chain(stream::once(async {
        gone_on.await.map_err(io::Error::other)
    }))
    .map(|step| step.map(|()| Bytes::new()))
    .chain(late.body);
    let late = Shard {
        body: body.boxed(),
        ..late
    };
    let whole = async {
        was_asked.await.unwrap();
        fixture
            .service
            .receive(&anna, shard(&photo, 0, 1000))
            .await
            .unwrap();
        go_on.send(()).unwrap();
    };
    let (state, ()) = timeout(LIMIT, async {
        tokio::join!(fixture.service.receive(&anna, late), whole)
    })
    .await
    .unwrap();
    assert!(matches!(state, Ok(UploadState::Stored { .. })), "{state:?}");
    assert_eq!(fixture.received(&anna, &photo).await, None);
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_shard_with_another_image_length_is_refused_and_changes_nothing() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    let longer = Shard {
        fingerprint: Fingerprint::of(&photo),
        ..shard(&[7; 2000], 1500, 2000)
    };
    let refused = fixture.service.receive(&anna, longer).await;
    assert!(
        matches!(
            refused,
            Err(UploadError::LengthMismatch {
                first: 1000,
                now: 2000
            })
        ),
        "{refused:?}"
    );
    let state = fixture
        .service
        .receive(&anna, shard(&photo, 500, 1000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

#[tokio::test]
async fn a_body_is_not_read_beyond_its_announced_length() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let announced = shard(&photo, 0, 500);
    let more = stream::once(async { Ok(Bytes::from_static(b"!")) });
    let touched = stream::poll_fn(|_| -> std::task::Poll<Option<io::Result<Bytes>>> {
        panic!("there is no memory for it")
    });
    let body = announced.body.chain(more).chain(touched).boxed();
    let refused = fixture
        .service
        .receive(
            &anna,
            Shard {
                body,
                ..shard(&photo, 0, 500)
            },
        )
        .await;
    assert!(
        matches!(refused, Err(UploadError::Sender(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn concurrent_senders_of_the_last_shard_all_get_the_receipt() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    let held = fixture.blobs.hold_writes().await;
    let last = || fixture.service.receive(&anna, shard(&photo, 500, 1000));
    let mut both = Box::pin(async { tokio::join!(last(), last()) });
    assert!(
        timeout(Duration::from_millis(100), &mut both)
            .await
            .is_err()
    );
    drop(held);
    let (one, other) = timeout(LIMIT, both).await.unwrap();
    for state in [one.unwrap(), other.unwrap()] {
        assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
    }
}

#[tokio::test]
async fn an_upload_leaves_the_list_before_its_bytes_are_deleted() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    fixture.blobs.fail_next("discard");
    fixture
        .service
        .cancel(&anna, Fingerprint::of(&photo))
        .await
        .unwrap_err();
    assert_eq!(fixture.received(&anna, &photo).await, None);
    // What is left are bytes that nobody knows of.
    fixture.service.reconcile().await.unwrap();
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn an_upload_whose_bytes_are_missing_starts_over() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let (fingerprint, whole) = (Fingerprint::of(&photo), ByteRange::new(0, 1000).unwrap());
    fixture
        .index
        .record_shard(anna.user, fingerprint, 1000, whole)
        .await
        .unwrap();
    let state = fixture
        .service
        .upload_state(&anna, fingerprint)
        .await
        .unwrap();
    assert_eq!(
        state,
        Some(UploadState::Receiving {
            size: 1000,
            received: RangeSet::new()
        })
    );
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    let state = fixture
        .service
        .receive(&anna, shard(&photo, 500, 1000))
        .await
        .unwrap();
    assert!(matches!(state, UploadState::Stored { .. }), "{state:?}");
}

/// The body of a batch with one image, and its length.
fn batch_of(photo: &[u8]) -> (u64, ByteStream<'static>) {
    let list = BatchHeader {
        images: vec![BatchEntry {
            fingerprint: Fingerprint::of(photo),
            size: photo.len() as u64,
        }],
    };
    let bytes = Bytes::from([&list.encode()[..], photo].concat());
    (
        bytes.len() as u64,
        stream::once(async { Ok(bytes) }).boxed(),
    )
}

#[tokio::test]
async fn a_batch_waits_for_parts_that_are_being_written() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let held = fixture.blobs.hold_writes().await;
    let mut writing = Box::pin(fixture.service.receive(&anna, shard(&photo, 500, 600)));
    let begun = async {
        tokio::select! {
            state = &mut writing => panic!("{state:?}"),
            permit = fixture.blobs.begun.acquire() => permit.unwrap().forget(),
        }
    };
    timeout(LIMIT, begun).await.unwrap();
    let (length, body) = batch_of(&photo);
    let mut receiving_batch = Box::pin(fixture.service.receive_batch(&anna, length, body));
    assert!(
        timeout(Duration::from_millis(200), &mut receiving_batch)
            .await
            .is_err()
    );
    drop(held);
    let (part, outcomes) = timeout(LIMIT, async { tokio::join!(writing, receiving_batch) })
        .await
        .unwrap();
    part.unwrap();
    assert!(matches!(
        outcomes.unwrap()[..],
        [BatchOutcome::Stored { .. }]
    ));
    assert_eq!(fixture.received(&anna, &photo).await, None);
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn cancelling_an_upload_waits_for_its_writes() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let held = fixture.blobs.hold_writes().await;
    let mut writing = Box::pin(fixture.service.receive(&anna, shard(&photo, 0, 500)));
    let begun = async {
        tokio::select! {
            state = &mut writing => panic!("{state:?}"),
            permit = fixture.blobs.begun.acquire() => permit.unwrap().forget(),
        }
    };
    timeout(LIMIT, begun).await.unwrap();
    let mut dropping = Box::pin(fixture.service.cancel(&anna, Fingerprint::of(&photo)));
    assert!(
        timeout(Duration::from_millis(200), &mut dropping)
            .await
            .is_err()
    );
    drop(held);
    let (part, dropped) = timeout(LIMIT, async { tokio::join!(writing, dropping) })
        .await
        .unwrap();
    part.unwrap();
    dropped.unwrap();
    assert_eq!(fixture.received(&anna, &photo).await, None);
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn an_image_found_missing_when_it_is_read_is_requested_again() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let photo = photo(1000);
    let (fingerprint, name) = (Fingerprint::of(&photo), Fingerprint::of(&photo).to_string());
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 1000))
        .await
        .unwrap();
    let images = DataDir::open(fixture.data.path()).unwrap().images();
    std::fs::remove_file(images.join(&name[..2]).join(&name)).unwrap();
    let image = fixture
        .service
        .image(&anna, fingerprint)
        .await
        .unwrap()
        .unwrap();
    let Err(error) = image.read(ByteRange::new(0, 1000).unwrap()).await else {
        panic!("it is gone")
    };
    assert!(
        matches!(
            error,
            UploadError::Blobs {
                source: BlobError::Missing(_),
                ..
            }
        ),
        "{error}"
    );
    let asked = CheckImage {
        fingerprint,
        size: 1000,
        proof: None,
    };
    let checked = fixture.service.check(&anna, &[asked]).await.unwrap();
    assert_eq!(checked, [CheckedImage::Absent { fingerprint }]);
}

#[tokio::test]
async fn shards_wait_for_free_memory_before_their_bodies_are_read() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let largest = usize::try_from(ShardSize::MAX.bytes()).unwrap();
    let photo = photo(3 * largest);
    let part = |at: usize| shard(&photo, at * largest, (at + 1) * largest);
    // A body that says nothing until its sender hangs up.
    let stalled = |at: usize| {
        let (sender, hung_up) = tokio::sync::oneshot::channel::<()>();
        let end = stream::once(async {
            hung_up
                .await
                .map(|()| Bytes::new())
                .map_err(io::Error::other)
        });
        (
            Shard {
                body: end.boxed(),
                ..part(at)
            },
            sender,
        )
    };
    let ((first, sender_of_first), (second, sender_of_second)) = (stalled(0), stalled(1));
    let mut first = Box::pin(fixture.service.receive(&anna, first));
    let mut second = Box::pin(fixture.service.receive(&anna, second));
    let holding = async { tokio::join!(&mut first, &mut second) };
    assert!(timeout(Duration::from_millis(200), holding).await.is_err());
    assert_eq!(fixture.service.memory.available_permits(), 0);

    let touched = stream::poll_fn(|_| -> std::task::Poll<Option<io::Result<Bytes>>> {
        panic!("read without memory")
    });
    let mut third = Box::pin(fixture.service.receive(
        &anna,
        Shard {
            body: touched.boxed(),
            ..part(2)
        },
    ));
    assert!(
        timeout(Duration::from_millis(200), &mut third)
            .await
            .is_err()
    );
    drop((third, first, sender_of_first));
    // A cancelled request releases its memory, and no more than that.
    let memory = Arc::clone(&fixture.service.memory);
    let back = timeout(LIMIT, memory.acquire_many(u32::try_from(largest).unwrap()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(memory.available_permits(), 0);
    drop((back, second, sender_of_second));
}

#[tokio::test]
async fn linking_an_image_deletes_its_unfinished_upload() {
    let fixture = Fixture::open().await;
    let (anna, ben) = (fixture.user("anna").await, fixture.user("ben").await);
    let photo = photo(100_000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 100_000))
        .await
        .unwrap();
    fixture
        .service
        .receive(&ben, shard(&photo, 0, 10))
        .await
        .unwrap();
    let checked = fixture
        .service
        .check(&ben, &[asked(&fixture, &ben, &photo)])
        .await
        .unwrap();
    assert!(
        matches!(checked[0], CheckedImage::Linked { .. }),
        "{checked:?}"
    );
    assert_eq!(fixture.blobs.uploads().await.unwrap(), []);
}

/// An image with the right proof.
fn asked(fixture: &Fixture, caller: &Caller, photo: &[u8]) -> CheckImage {
    let size = photo.len() as u64;
    let mut prover = Prover::new(
        &fixture.service.possession.nonce(caller).0,
        caller.user,
        size,
    );
    prover.update(photo);
    CheckImage {
        fingerprint: Fingerprint::of(photo),
        size,
        proof: Some(prover.finish()),
    }
}

#[tokio::test]
async fn a_proof_costs_one_read_and_after_three_failures_none() {
    let fixture = Fixture::open().await;
    let (anna, ben) = (fixture.user("anna").await, fixture.user("ben").await);
    let photo = photo(100_000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 100_000))
        .await
        .unwrap();
    let right = asked(&fixture, &ben, &photo);
    let wrong = CheckImage {
        proof: Some(Proof::from([0; 32])),
        ..right.clone()
    };
    for failures in 0..10 {
        let checked = fixture
            .service
            .check(&ben, std::slice::from_ref(&wrong))
            .await
            .unwrap();
        assert!(matches!(checked[0], CheckedImage::Absent { .. }));
        let read = failures.min(usize::try_from(PROOF_FAILURES_PER_DAY).unwrap() - 1) + 1;
        assert_eq!(fixture.blobs.count("read"), read);
    }
    assert!(matches!(
        fixture.service.check(&ben, &[right]).await.unwrap()[0],
        CheckedImage::Absent { .. }
    ));
    // A holder of the image gets an answer without a read.
    let mine = asked(&fixture, &anna, &photo);
    assert!(matches!(
        fixture.service.check(&anna, &[mine]).await.unwrap()[0],
        CheckedImage::Owned { .. }
    ));
    assert_eq!(fixture.blobs.count("read"), 3);
}

#[tokio::test]
async fn concurrent_false_proofs_cause_no_more_reads_than_sequential_ones() {
    let fixture = Fixture::open().await;
    let (anna, ben) = (fixture.user("anna").await, fixture.user("ben").await);
    let photo = photo(100_000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 100_000))
        .await
        .unwrap();
    let wrong = CheckImage {
        proof: Some(Proof::from([0; 32])),
        ..asked(&fixture, &ben, &photo)
    };
    let checks = (0..10).map(|_| fixture.service.check(&ben, std::slice::from_ref(&wrong)));
    for checked in future::join_all(checks).await {
        assert!(matches!(checked.unwrap()[0], CheckedImage::Absent { .. }));
    }
    assert_eq!(
        fixture.blobs.count("read"),
        usize::try_from(PROOF_FAILURES_PER_DAY).unwrap()
    );
}

#[tokio::test]
async fn a_read_error_does_not_count_as_a_failed_proof() {
    let fixture = Fixture::open().await;
    let (anna, ben) = (fixture.user("anna").await, fixture.user("ben").await);
    let photo = photo(100_000);
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 100_000))
        .await
        .unwrap();
    let right = asked(&fixture, &ben, &photo);
    for _ in 0..=PROOF_FAILURES_PER_DAY {
        fixture.blobs.fail_next("read");
        let checked = fixture
            .service
            .check(&ben, std::slice::from_ref(&right))
            .await
            .unwrap();
        assert!(matches!(checked[0], CheckedImage::Absent { .. }));
    }
    assert_eq!(fixture.blobs.count("quarantine"), 0);
    assert!(matches!(
        fixture.service.check(&ben, &[right]).await.unwrap()[0],
        CheckedImage::Linked { .. }
    ));
}

#[tokio::test]
async fn a_full_check_is_answered_in_the_order_of_the_request() {
    let fixture = Fixture::open().await;
    let anna = fixture.user("anna").await;
    let image = |number: u64| {
        let fingerprint = Fingerprint::of(&number.to_be_bytes());
        CheckImage {
            fingerprint,
            size: 100_000,
            proof: None,
        }
    };
    let images: Vec<_> = (0..1000).map(image).collect();
    let checked = fixture.service.check(&anna, &images).await.unwrap();
    let absent = |image: &CheckImage| CheckedImage::Absent {
        fingerprint: image.fingerprint,
    };
    assert_eq!(checked, images.iter().map(absent).collect::<Vec<_>>());
}
