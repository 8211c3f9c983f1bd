//! Garbage collection of images that another user links or uploads at the same moment.

use std::env;

use futures_util::future::{self, BoxFuture};
use heirloom_protocol::LibraryPath;
use heirloom_protocol::batch::{BatchEntry, BatchHeader, BatchOutcome};
use heirloom_protocol::message::{LibraryChange, LibraryOutcome};
use heirloom_protocol::possession::SIZE_MIN;

use super::*;

/// Rounds of the race where nobody asked for more: a few seconds.
const ROUNDS: usize = 200;

/// Rounds of this race for one of the slower tests of `scripts/torture`, which says how many rounds
/// those go.
const ROUNDS_FOR_ONE: usize = 500;

/// Images per round that become unreferenced and are claimed at the same time.
const AT_ONCE: usize = 4;

/// Photos that are prepared together.
const BATCH: usize = 40;

/// The fixture, its users, and a second collector as another process would run it.
struct Race {
    fixture: Fixture,
    /// Who lets go.
    anna: Caller,
    /// Who want the images again.
    others: [Caller; 4],
    collectors: [GarbageCollector; 2],
    random: fastrand::Rng,
}

/// A way to get an image: link it, or upload it in one of three ways. Returns whether the user got
/// it.
type Claim = fn(UploadService, Caller, CheckImage, Bytes) -> BoxFuture<'static, bool>;

/// All of them; each answers whether the image was said to be theirs.
const CLAIMS: [Claim; 4] = [
    |service, caller, asked, _| {
        Box::pin(async move {
            let checked = service.check(&caller, &[asked]).await.unwrap();
            matches!(checked[0], CheckedImage::Linked { .. })
        })
    },
    |service, caller, _, photo| {
        Box::pin(async move {
            is_stored(
                &service
                    .receive(&caller, shard(&photo, 0, photo.len()))
                    .await
                    .unwrap(),
            )
        })
    },
    |service, caller, _, photo| {
        Box::pin(async move {
            let half = photo.len() / 2;
            let halves = [shard(&photo, 0, half), shard(&photo, half, photo.len())];
            let states =
                future::join_all(halves.map(|shard| service.receive(&caller, shard))).await;
            states.into_iter().any(|state| is_stored(&state.unwrap()))
        })
    },
    |service, caller, asked, photo| {
        Box::pin(async move {
            let list = BatchHeader {
                images: vec![BatchEntry {
                    fingerprint: asked.fingerprint,
                    size: asked.size,
                }],
            };
            let batch = Bytes::from([&list.encode()[..], &photo].concat());
            let length = batch.len() as u64;
            let body = stream::once(async { Ok(batch) }).boxed();
            let outcomes = service.receive_batch(&caller, length, body).await.unwrap();
            matches!(outcomes[0], BatchOutcome::Stored { .. })
        })
    },
];

fn is_stored(state: &UploadState) -> bool {
    matches!(state, UploadState::Stored { .. })
}

impl Race {
    async fn open(seed: u64) -> Self {
        let fixture = Fixture::open().await;
        let anna = fixture.user("anna").await;
        let others = [
            fixture.user("ben").await,
            fixture.user("carl").await,
            fixture.user("dora").await,
            fixture.user("emil").await,
        ];
        let folder = DataDir::open(fixture.data.path()).unwrap();
        let command = GarbageCollector::new(
            Index::open(&folder.index_url()).await.unwrap(),
            Arc::new(LocalBlobStore::open(&folder).await.unwrap()),
            Clock::default(),
            SharedCounters::default(),
        );
        let collectors = [fixture.service.gc.clone(), command];
        Self {
            fixture,
            anna,
            others,
            collectors,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Photos that Anna has in the trash and nowhere else.
    async fn trashed(&mut self) -> Vec<Bytes> {
        let random = &mut self.random;
        let length = usize::try_from(SIZE_MIN).unwrap();
        let photos: Vec<Bytes> = (0..BATCH)
            .map(|_| {
                let mut photo = vec![0; length + random.usize(..1000)];
                random.fill(&mut photo);
                photo.into()
            })
            .collect();
        let named: Vec<_> = photos
            .iter()
            .map(|photo| (Fingerprint::of(photo), photo.clone()))
            .collect();
        let sized = named
            .iter()
            .map(|(fingerprint, photo)| (*fingerprint, photo.len() as u64))
            .collect();
        let several = self.fixture.blobs.store_batch(named.clone()).await.unwrap();
        self.fixture
            .index
            .add_holdings(self.anna.user, sized)
            .await
            .unwrap();
        drop(several);
        let path = |fingerprint: &Fingerprint| LibraryPath::new(fingerprint.to_string()).unwrap();
        let put = |fingerprint: &Fingerprint| LibraryChange::Put {
            path: path(fingerprint),
            fingerprint: *fingerprint,
            mtime_ns: 0,
            base: 0,
        };
        let index = &self.fixture.index;
        let puts = named
            .iter()
            .map(|(fingerprint, _)| put(fingerprint))
            .collect();
        let stand = index.change_library(self.anna.user, puts).await.unwrap();
        let removals = named.iter().zip(stand).map(|((fingerprint, _), outcome)| {
            let LibraryOutcome::Applied { version } = outcome else {
                panic!("{outcome:?}")
            };
            LibraryChange::Remove {
                path: path(fingerprint),
                base: version,
            }
        });
        index
            .change_library(self.anna.user, removals.collect())
            .await
            .unwrap();
        photos
    }

    /// Makes some images unreferenced, collects them twice at once, and claims them meanwhile.
    /// Returns how many were claimed, and how many are gone.
    async fn round(&mut self, photos: &[Bytes]) -> (usize, usize) {
        let limit = u32::try_from(AT_ONCE).unwrap();
        assert_eq!(
            self.fixture
                .index
                .purge_trash(None, i64::MAX, limit)
                .await
                .unwrap(),
            u64::from(limit)
        );
        let released = self
            .fixture
            .index
            .unreferenced(i64::MAX, None, 2 * AT_ONCE)
            .await
            .unwrap();
        let wanted: Vec<&Bytes> = released
            .iter()
            .map(|image| {
                photos
                    .iter()
                    .find(|photo| Fingerprint::of(photo) == *image)
                    .expect("one of the batch")
            })
            .collect();
        let mut asking = Vec::new();
        for photo in &wanted {
            for (claim, caller) in CLAIMS.iter().zip(&self.others.clone()) {
                if self.random.usize(..CLAIMS.len()) == 0 {
                    let asked = asked(&self.fixture, caller, photo);
                    let got = claim(
                        self.fixture.service.clone(),
                        caller.clone(),
                        asked,
                        (*photo).clone(),
                    );
                    asking.push((caller.clone(), (*photo).clone(), self.sometime(got)));
                }
            }
        }
        let collectors = self.collectors.clone().map(|gc| {
            self.sometime(Box::pin(async move {
                gc.collect_unreferenced(Duration::ZERO).await.unwrap()
            }))
        });
        let (collectors, got) = (
            future::join_all(collectors),
            asking
                .into_iter()
                .map(|(caller, photo, got)| async { (caller, photo, got.await.unwrap()) }),
        );
        // Ten times the limit of others: a round waits for the disk dozens of times, and it is
        // only meant to differ from one that hangs.
        let (_, got) = timeout(LIMIT * 10, future::join(collectors, future::join_all(got)))
            .await
            .unwrap();
        for (caller, photo, _) in got.iter().filter(|(_, _, theirs)| *theirs) {
            assert!(
                self.reads(caller, photo).await,
                "a user was told that they hold it, and it is not stored"
            );
        }
        let mut gone = 0;
        for photo in wanted {
            gone += usize::from(!self.is_stored_if_known(photo).await);
        }
        (got.iter().filter(|(_, _, theirs)| *theirs).count(), gone)
    }

    /// Begins within a few milliseconds.
    fn sometime<T: Send + 'static>(
        &mut self,
        work: BoxFuture<'static, T>,
    ) -> tokio::task::JoinHandle<T> {
        let later = Duration::from_micros(self.random.u64(..8_000));
        tokio::spawn(async move {
            tokio::time::sleep(later).await;
            work.await
        })
    }

    async fn reads(&self, caller: &Caller, photo: &Bytes) -> bool {
        let image = self
            .fixture
            .service
            .image(caller, Fingerprint::of(photo))
            .await
            .unwrap();
        let Some(image) = image else { return false };
        let Ok(pieces) = image
            .read(ByteRange::new(0, photo.len() as u64).unwrap())
            .await
        else {
            return false;
        };
        let pieces: Vec<Bytes> = pieces.map(Result::unwrap).collect().await;
        pieces.concat() == photo[..]
    }

    /// Whether the index knows the image; if so, its bytes are stored.
    async fn is_stored_if_known(&self, photo: &Bytes) -> bool {
        let fingerprint = Fingerprint::of(photo);
        let known = self
            .fixture
            .index
            .image_sizes(&[fingerprint])
            .await
            .unwrap()
            .contains_key(&fingerprint);
        let is_stored = self
            .fixture
            .blobs
            .size(fingerprint)
            .await
            .unwrap()
            .is_some();
        assert!(is_stored || !known, "a row without bytes");
        known
    }
}

/// How many rounds, and from which seed.
fn rounds_and_seed() -> (usize, u64) {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().unwrap())
    };
    let seed = number("HEIRLOOM_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("HEIRLOOM_ROUNDS").map_or(ROUNDS, |rounds| {
        usize::try_from(rounds).unwrap() * ROUNDS_FOR_ONE
    });
    println!("HEIRLOOM_SEED={seed}, {rounds} rounds");
    (rounds, seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_image_that_races_with_garbage_collection_dangles() {
    let (rounds, seed) = rounds_and_seed();
    let mut race = Race::open(seed).await;
    let (mut done, mut got, mut gone) = (0, 0, 0);
    while done < rounds {
        let photos = race.trashed().await;
        for _ in 0..BATCH / AT_ONCE {
            let (now_got, now_gone) = race.round(&photos).await;
            (done, got, gone) = (done + AT_ONCE, got + now_got, gone + now_gone);
            // Images left because their prefix was locked: the next round wants its own.
            race.collectors[0]
                .collect_unreferenced(Duration::ZERO)
                .await
                .unwrap();
        }
    }
    println!("of {done} images {got} were claimed, {gone} are gone");
    assert!(
        got > done / 8 && gone > done / 8,
        "of {done} images {got} were claimed, {gone} are gone: that is no race"
    );
}

#[tokio::test]
async fn a_rejected_image_leaves_no_bytes_and_an_orphan_is_removed_after_its_grace_period() {
    let fixture = Fixture::open().await;
    let (mut anna, ben) = (fixture.user("anna").await, fixture.user("ben").await);
    fixture
        .index
        .set_quota(anna.user, Some(100_000))
        .await
        .unwrap();
    // A token that was looked up before there was a quota: the index has the last word.
    anna.quota = None;
    let (large, held) = (photo(200_000), photo(150_000));
    fixture
        .service
        .receive(&ben, shard(&held, 0, 150_000))
        .await
        .unwrap();
    for photo in [&large, &held] {
        let refused = fixture
            .service
            .receive(&anna, shard(photo, 0, photo.len()))
            .await;
        assert!(
            matches!(
                refused,
                Err(UploadError::Index {
                    source: IndexError::OverQuota { .. },
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    assert_eq!(
        fixture.blobs.size(Fingerprint::of(&large)).await.unwrap(),
        None,
        "nobody has it"
    );
    assert_eq!(
        fixture.blobs.size(Fingerprint::of(&held)).await.unwrap(),
        Some(150_000),
        "it is Ben's"
    );

    // Stored, and stopped short of the record.
    let orphan = photo(1000);
    let stored = vec![(Fingerprint::of(&orphan), Bytes::from(orphan.clone()))];
    drop(fixture.blobs.store_batch(stored).await.unwrap());
    let gc = &fixture.service.gc;
    assert_eq!(
        gc.collect_orphans(Duration::from_hours(1))
            .await
            .unwrap()
            .images,
        0,
        "it was stored just now"
    );
    let freed = gc.collect_orphans(Duration::ZERO).await.unwrap();
    assert_eq!((freed.images, freed.bytes), (1, 1000));
    assert_eq!(
        fixture.blobs.size(Fingerprint::of(&orphan)).await.unwrap(),
        None
    );
    assert_eq!(
        fixture.blobs.size(Fingerprint::of(&held)).await.unwrap(),
        Some(150_000)
    );
}

#[tokio::test]
async fn a_rejected_batch_leaves_no_bytes() {
    let fixture = Fixture::open().await;
    let mut anna = fixture.user("anna").await;
    fixture.index.set_quota(anna.user, Some(100)).await.unwrap();
    // A token that was looked up before there was a quota.
    anna.quota = None;
    let photo = photo(1000);
    let (length, body) = batch_of(&photo);
    let refused = fixture.service.receive_batch(&anna, length, body).await;
    assert!(
        matches!(
            refused,
            Err(UploadError::Index {
                source: IndexError::OverQuota { .. },
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(
        fixture.blobs.size(Fingerprint::of(&photo)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn naming_an_orphan_does_not_get_it_removed() {
    let fixture = Fixture::open().await;
    let ben = fixture.user("ben").await;
    // As an index that was restored from an old copy makes of newer photos.
    let orphan = photo(1000);
    let fingerprint = Fingerprint::of(&orphan);
    drop(
        fixture
            .blobs
            .store_batch(vec![(fingerprint, Bytes::from(orphan.clone()))])
            .await
            .unwrap(),
    );
    let guessed = |start: usize, end: usize| Shard {
        fingerprint,
        ..shard(&vec![7; 1000], start, end)
    };
    fixture
        .service
        .receive(&ben, guessed(0, 500))
        .await
        .unwrap();
    fixture.service.cancel(&ben, fingerprint).await.unwrap();
    fixture
        .service
        .receive(&ben, guessed(0, 500))
        .await
        .unwrap();
    let refused = fixture.service.receive(&ben, guessed(500, 1000)).await;
    assert!(
        matches!(refused, Err(UploadError::FingerprintMismatch { .. })),
        "{refused:?}"
    );
    fixture
        .service
        .receive(&ben, guessed(0, 1000))
        .await
        .unwrap_err();
    assert_eq!(fixture.blobs.size(fingerprint).await.unwrap(), Some(1000));
}

#[tokio::test]
async fn a_finished_and_rejected_upload_keeps_its_image_until_it_is_cancelled() {
    let fixture = Fixture::open().await;
    let mut anna = fixture.user("anna").await;
    let photo = photo(1000);
    let fingerprint = Fingerprint::of(&photo);
    fixture.index.set_quota(anna.user, Some(10)).await.unwrap();
    anna.quota = None;
    fixture
        .service
        .receive(&anna, shard(&photo, 0, 500))
        .await
        .unwrap();
    assert!(
        fixture
            .service
            .receive(&anna, shard(&photo, 500, 1000))
            .await
            .is_err()
    );
    let gc = fixture.service.gc.clone();
    assert_eq!(
        gc.collect_orphans(Duration::ZERO).await.unwrap().images,
        0,
        "its upload refers to it"
    );
    // A restart finds it as it was.
    fixture.service.reconcile().await.unwrap();
    assert_eq!(fixture.blobs.size(fingerprint).await.unwrap(), Some(1000));
    fixture.service.cancel(&anna, fingerprint).await.unwrap();
    assert_eq!(fixture.blobs.size(fingerprint).await.unwrap(), None);
}
