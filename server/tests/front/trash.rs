//! The trash over HTTP: who may look into it, and that nobody empties it.

use heirloom_protocol::message::{LibraryBatch, LibraryChange, LibraryOutcome, LibraryOutcomes, Scope, TrashPage};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath, route};
use hyper::Method;

use crate::support::{Guest, House, photo};

async fn change(guest: &Guest, change: LibraryChange) -> LibraryOutcome {
    let answer = guest.post(route::LIBRARY_CHANGES, &LibraryBatch { changes: vec![change] }).await;
    answer.json::<LibraryOutcomes>().outcomes.remove(0)
}

fn put(photo: &[u8], base: u64) -> LibraryChange {
    let (path, fingerprint) = (LibraryPath::new("a.jpg").unwrap(), Fingerprint::of(photo));
    LibraryChange::Put { path, fingerprint, mtime_ns: 7, base }
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
        assert_eq!((lost.version, lost.standing, lost.photo.fingerprint), (1, 2, Fingerprint::of(&first)));
        assert_eq!((page.entries.len(), page.next, page.more, page.kept_for_s), (1, 1, false, 30 * 86_400));
    }
    assert!(ben.get(&route::library_trash(0)).await.json::<TrashPage>().entries.is_empty());
    assert_eq!(anna.get("/v1/library/trash?all=1").await.code(), ErrorCode::MalformedRequest);
    for method in [Method::DELETE, Method::POST, Method::PUT] {
        assert_eq!(anna.ask(method, route::LIBRARY_TRASH).await.code(), ErrorCode::MethodNotAllowed);
    }
    // Restored over what stands there: with all rights only.
    let narrow = LibraryOutcome::Refused { code: ErrorCode::ScopeTooNarrow };
    assert_eq!(change(&camera, put(&first, 2)).await, narrow);
    assert_eq!(change(&anna, put(&first, 2)).await, LibraryOutcome::Applied { version: 3 });
    assert!(anna.has(&first).await);
    house.close().await;
}
