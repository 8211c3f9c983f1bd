//! A user who knows much about an image without having it gets no link, and no answer that costs
//! more or less.

use heirloom_protocol::possession::SIZE_MIN;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use super::*;

/// Each stores an image and reads it twice: all of them in a few seconds.
const CASES: u32 = 64;

/// Images of all sorts of lengths around the pieces in which they are read, hashed and sent.
fn lengths() -> impl Strategy<Value = usize> {
    let least = usize::try_from(SIZE_MIN).unwrap();
    prop_oneof![
        least..least + 3000,
        // BLAKE3 hashes chunks of a KiB in a tree; the storage reads 256 KiB at a time.
        (65_usize..600).prop_map(|chunks| chunks * 1024),
        (65_usize..600).prop_map(|chunks| chunks * 1024 + 1),
        (1_usize..5).prop_map(|pieces| (pieces << 18) - 1),
        Just(3 << 20),
    ]
}

/// Which byte is not known.
#[derive(Clone, Debug)]
enum Unknown {
    First,
    Last,
    /// The first or last of a chunk.
    AtAnEdge(prop::sample::Index, usize),
    Anywhere(prop::sample::Index),
}

impl Unknown {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Just(Self::First),
            Just(Self::Last),
            (any::<prop::sample::Index>(), 0..2_usize)
                .prop_map(|(chunk, edge)| Self::AtAnEdge(chunk, edge)),
            any::<prop::sample::Index>().prop_map(Self::Anywhere),
        ]
    }

    fn place(&self, length: usize) -> usize {
        match self {
            Self::First => 0,
            Self::Last => length - 1,
            Self::AtAnEdge(chunk, edge) => {
                ((chunk.index(length / 1024) + 1) * 1024).min(length) - edge.min(&1)
            }
            Self::Anywhere(at) => at.index(length),
        }
        .min(length - 1)
    }
}

async fn is_linked(fixture: &Fixture, caller: &Caller, asked: CheckImage) -> bool {
    let checked = fixture.service.check(caller, &[asked]).await.unwrap();
    matches!(checked[0], CheckedImage::Linked { .. })
}

#[test]
fn knowing_all_but_one_byte_gets_no_link() {
    let runtime = Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::open());
    let anna = runtime.block_on(fixture.user("anna"));
    let cases = (lengths(), Unknown::any(), 1..=u8::MAX, any::<u64>());
    // A failure says which case it was.
    let outcome = TestRunner::new(ProptestConfig::with_cases(CASES)).run(
        &cases,
        |(length, unknown, by, seed)| {
            runtime.block_on(async {
                let mut photo = vec![0; length];
                fastrand::Rng::with_seed(seed).fill(&mut photo);
                let stored = fixture
                    .service
                    .receive(&anna, shard(&photo, 0, length))
                    .await
                    .unwrap();
                prop_assert!(matches!(stored, UploadState::Stored { .. }), "it is Anna's");
                // A user without failed proofs today.
                let ben = fixture.user(&format!("ben-{:x}", fastrand::u64(..))).await;
                let honest = asked(&fixture, &ben, &photo);
                let mut guess = photo.clone();
                guess[unknown.place(length)] ^= by;
                let proof = asked(&fixture, &ben, &guess).proof;
                let linked = is_linked(
                    &fixture,
                    &ben,
                    CheckImage {
                        proof,
                        ..honest.clone()
                    },
                )
                .await;
                prop_assert!(!linked, "he got it");
                let receipts = fixture
                    .index
                    .receipts(ben.user, &[honest.fingerprint])
                    .await
                    .unwrap();
                prop_assert!(receipts.is_empty(), "nor is it found to be his");
                prop_assert!(
                    fixture
                        .service
                        .image(&ben, honest.fingerprint)
                        .await
                        .unwrap()
                        .is_none()
                );
                prop_assert!(
                    is_linked(&fixture, &ben, honest).await,
                    "the byte was all that was missing"
                );
                Ok(())
            })
        },
    );
    outcome.unwrap();
}

/// The cost of a check: reads of the storage, reads of the index, writes of the index.
async fn cost(fixture: &Fixture, caller: &Caller, asked: CheckImage) -> (usize, u64, u64) {
    let (reads, (queries, writes)) = (fixture.blobs.count("read"), fixture.index.query_counts());
    assert!(!is_linked(fixture, caller, asked).await);
    let (queries_now, writes_now) = fixture.index.query_counts();
    (
        fixture.blobs.count("read") - reads,
        queries_now - queries,
        writes_now - writes,
    )
}

#[tokio::test]
async fn with_cross_user_off_a_check_costs_the_same_for_stored_and_unknown_images() {
    let [off, on] = [Fixture::with(CrossUser::Off).await, Fixture::open().await];
    let (hers, nobodys) = (photo(100_000), photo(100_001));
    let mut costs = Vec::new();
    // Where proofs are looked at, the right one would link it.
    for (fixture, looks) in [(&off, 3), (&on, 2)] {
        let (anna, ben) = (fixture.user("anna").await, fixture.user("ben").await);
        fixture
            .service
            .receive(&anna, shard(&hers, 0, hers.len()))
            .await
            .unwrap();
        for photo in [&hers, &nobodys] {
            let right = asked(fixture, &ben, photo);
            // Right and of an unknown image, wrong, none.
            let wrong = CheckImage {
                proof: Some(Proof::from([0; 32])),
                ..right.clone()
            };
            let none = CheckImage {
                proof: None,
                ..right.clone()
            };
            let mut of_all = Vec::new();
            for asked in [wrong, none, right].into_iter().take(looks) {
                of_all.push(cost(fixture, &ben, asked).await);
            }
            costs.push(of_all);
        }
    }
    assert_eq!(
        costs[0], costs[1],
        "the same reads and queries, whoever else holds it"
    );
    assert_eq!(costs[0], [(0, 2, 0); 3], "and no more than a check needs");
    assert_ne!(
        costs[2][0], costs[3][0],
        "the counters see that a proof is verified"
    );
    assert_eq!(costs[2][1], costs[3][1]);
}
