//! The library over HTTP: changes in, news out. What the changes mean is the index's contract.

use std::time::{Duration, Instant};

use heirloom_protocol::message::{
    LibraryBatch, LibraryChange, LibraryFeed, LibraryOutcome, LibraryOutcomes,
};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath, route};

use crate::support::{Guest, House, LIMIT, photo};

async fn put(guest: &Guest, path: &str, photo: &[u8]) -> LibraryOutcome {
    let change = LibraryChange::Put {
        path: LibraryPath::new(path).unwrap(),
        fingerprint: Fingerprint::of(photo),
        mtime_ns: 5,
        base: 0,
    };
    let answer = guest
        .post(
            route::LIBRARY_CHANGES,
            &LibraryBatch {
                changes: vec![change],
            },
        )
        .await;
    answer.json::<LibraryOutcomes>().outcomes.remove(0)
}

async fn feed(guest: &Guest, since: u64, wait_s: u64) -> LibraryFeed {
    guest.get(&route::library_feed(since, wait_s)).await.json()
}

#[tokio::test]
async fn a_device_sees_what_another_one_changed() {
    let house = House::open().await;
    let (phone, laptop, ben) = (
        house.guest("anna").await,
        house.guest("anna").await,
        house.guest("ben").await,
    );
    let photo = photo(1, 1000);
    let refused = LibraryOutcome::Refused {
        code: ErrorCode::ImageNotHeld,
    };
    assert_eq!(put(&phone, "2026/a.jpg", &photo).await, refused);
    phone.store(&photo).await;
    assert_eq!(
        put(&phone, "2026/a.jpg", &photo).await,
        LibraryOutcome::Applied { version: 1 }
    );
    let seen = feed(&laptop, 0, 0).await;
    assert_eq!(seen.entries.len(), 1);
    assert_eq!(
        seen.entries[0].photo.unwrap().fingerprint,
        Fingerprint::of(&photo)
    );
    assert_eq!((seen.next, seen.more), (1, false));
    assert_eq!(feed(&ben, 0, 0).await.entries, []);
    assert_eq!(feed(&laptop, u64::MAX, 0).await.entries, []);
    house.close().await;
}

#[tokio::test]
async fn a_device_that_waits_for_news_is_woken_by_them_and_not_by_others() {
    let house = House::open().await;
    let (phone, laptop, ben) = (
        house.guest("anna").await,
        house.guest("anna").await,
        house.guest("ben").await,
    );
    let photo = photo(1, 1000);
    phone.store(&photo).await;
    ben.store(&photo).await;
    let waiting = tokio::spawn(async move { feed(&laptop, 0, 55).await });
    put(&ben, "b.jpg", &photo).await;
    put(&phone, "a.jpg", &photo).await;
    let heard = tokio::time::timeout(LIMIT / 2, waiting)
        .await
        .expect("woken long before its wait was over")
        .unwrap();
    assert_eq!(
        heard
            .entries
            .iter()
            .map(|entry| entry.path.as_str())
            .collect::<Vec<_>>(),
        ["a.jpg"]
    );
    house.close().await;
}

#[tokio::test]
async fn a_device_that_waits_in_vain_is_answered_when_its_time_is_over_or_the_server_stops() {
    let house = House::open().await;
    let anna = house.guest("anna").await;
    let began = Instant::now();
    assert_eq!(
        feed(&anna, 0, 1).await,
        LibraryFeed {
            entries: vec![],
            next: 0,
            more: false,
            wanted: 0
        }
    );
    assert!(began.elapsed() >= Duration::from_secs(1));

    let mut connection = anna.connect().await;
    let request = anna.prepared(
        hyper::Request::get(route::library_feed(0, 55))
            .body(http_body_util::Full::default())
            .unwrap(),
    );
    let waiting = tokio::spawn(async move { connection.ask(request).await });
    // Once the request is on its way the stop must not wait for it.
    anna.session().await;
    let closing = tokio::time::timeout(Duration::from_secs(15), house.close());
    let (closed, answer) = tokio::join!(closing, waiting);
    closed.expect("a stop does not wait for those who wait");
    assert_eq!(answer.unwrap().json::<LibraryFeed>().entries, []);
}
