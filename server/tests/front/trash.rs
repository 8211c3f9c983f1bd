//! The trash over HTTP: who may look into it, and that nobody empties it.

use std::time::Duration;

use heirloom_protocol::message::{
    LibraryBatch, LibraryChange, LibraryOutcome, LibraryOutcomes, Scope, TrashPage,
};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath, route};
use heirloom_server::clock::Clock;
use heirloom_server::config::TRASH_EXPIRY;
use hyper::Method;
use tokio::time::timeout;

use crate::support::{Guest, House, LIMIT, kept, photo};

async fn change(guest: &Guest, change: LibraryChange) -> LibraryOutcome {
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

fn put(photo: &[u8], base: u64) -> LibraryChange {
    let (path, fingerprint) = (LibraryPath::new("a.jpg").unwrap(), Fingerprint::of(photo));
    LibraryChange::Put {
        path,
        fingerprint,
        mtime_ns: 7,
        base,
    }
}

/// Looks again until it is so; the server clears in its own time and tells nobody.
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, looking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test]
async fn a_server_clears_away_by_itself_what_nobody_has_had_for_a_day() {
    let house = House::open().await;
    let (anna, ben) = (house.guest("anna").await, house.guest("ben").await);
    let (mine, ours) = (photo(1, 1000), photo(2, 1000));
    for photo in [&mine, &ours] {
        anna.store(photo).await;
        let LibraryOutcome::Applied { version } = change(&anna, put(photo, 0)).await else {
            panic!("it is hers")
        };
        change(
            &anna,
            LibraryChange::Remove {
                path: LibraryPath::new("a.jpg").unwrap(),
                base: version,
            },
        )
        .await;
    }
    ben.store(&ours).await;
    let mut data = house.close().await;
    // In the trash; let go of just now; and a day ago.
    let (none, day) = (Duration::ZERO, Duration::from_hours(24));
    for (trash_expiry, later, left) in [(TRASH_EXPIRY, none, 2), (none, none, 2), (none, day, 1)] {
        let clock = Clock::default();
        clock.advance(later);
        let house =
            House::open_with(data, clock, |config| config.trash_expiry = trash_expiry).await;
        let ben = house.guest("ben").await;
        let cleared = async || {
            let text = String::from_utf8(ben.get("/metrics").await.body.to_vec()).unwrap();
            text.contains("heirloom_images_cleared_total 1\n")
        };
        if left == 1 {
            eventually("it is cleared away", cleared).await;
        }
        assert_eq!(kept(&house).len(), left, "after {later:?}");
        assert!(ben.has(&ours).await);
        data = house.close().await;
    }
}

#[tokio::test]
async fn every_device_of_a_user_sees_the_trash_and_none_can_empty_it() {
    let house = House::open().await;
    let (anna, ben) = (house.guest("anna").await, house.guest("ben").await);
    let camera = house.device("anna", Scope::AppendOnly).await;
    let (first, second) = (photo(1, 1000), photo(2, 1000));
    for photo in [&first, &second] {
        anna.store(photo).await;
    }
    change(&anna, put(&first, 0)).await;
    change(&anna, put(&second, 1)).await;
    for guest in [&anna, &camera] {
        let page: TrashPage = guest.get(&route::library_trash(0)).await.json();
        let lost = &page.entries[0];
        assert_eq!(
            (lost.version, lost.current_version, lost.photo.fingerprint),
            (1, 2, Fingerprint::of(&first))
        );
        assert_eq!(
            (page.entries.len(), page.next, page.more, page.kept_for_s),
            (1, 1, false, 30 * 86_400)
        );
    }
    assert!(
        ben.get(&route::library_trash(0))
            .await
            .json::<TrashPage>()
            .entries
            .is_empty()
    );
    assert_eq!(
        anna.get("/v1/library/trash?all=1").await.code(),
        ErrorCode::MalformedRequest
    );
    for method in [Method::DELETE, Method::POST, Method::PUT] {
        assert_eq!(
            anna.ask(method, route::LIBRARY_TRASH).await.code(),
            ErrorCode::MethodNotAllowed
        );
    }
    // Restored over what stands there: with all rights only.
    let narrow = LibraryOutcome::Refused {
        code: ErrorCode::ScopeTooNarrow,
    };
    assert_eq!(change(&camera, put(&first, 2)).await, narrow);
    assert_eq!(
        change(&anna, put(&first, 2)).await,
        LibraryOutcome::Applied { version: 3 }
    );
    assert!(anna.has(&first).await);
    house.close().await;
}
