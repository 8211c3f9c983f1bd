//! Scopes: on every route, what a token may not do is rejected before anything happens.

use std::time::Duration;

use heirloom_protocol::message::{
    CheckImage, CheckedImage, LibraryBatch, LibraryChange, LibraryOutcome, LibraryOutcomes, Scope,
};
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath, route};
use heirloom_server::index::UserState;
use hyper::{Method, StatusCode};

use crate::support::{Client, LIMIT, TestServer, photo, prove};

fn put(path: &str, photo: &[u8], base: u64) -> LibraryChange {
    let (path, fingerprint) = (LibraryPath::new(path).unwrap(), Fingerprint::of(photo));
    LibraryChange::Put {
        path,
        fingerprint,
        mtime_ns: 0,
        base,
    }
}

fn remove(path: &str, base: u64) -> LibraryChange {
    LibraryChange::Remove {
        path: LibraryPath::new(path).unwrap(),
        base,
    }
}

async fn change(client: &Client, changes: Vec<LibraryChange>) -> Vec<LibraryOutcome> {
    client
        .post(route::LIBRARY_CHANGES, &LibraryBatch { changes })
        .await
        .json::<LibraryOutcomes>()
        .outcomes
}

#[tokio::test]
async fn a_read_only_token_reads_everything_and_changes_nothing() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let reader = server.device("anna", Scope::ReadOnly).await;
    let (kept, half, fresh) = (photo(1, 100_000), photo(2, 100_000), photo(3, 100_000));
    anna.store(&kept).await;
    anna.put(&half, 0, 50_000).await;
    change(&anna, vec![put("a.jpg", &kept, 0)]).await;

    assert_eq!(reader.session().await.scope, Scope::ReadOnly);
    assert!(reader.has(&kept).await);
    let upload = route::upload(Fingerprint::of(&half));
    for path in [
        upload.as_str(),
        route::STATUS,
        route::METRICS,
        &route::library_feed(0, 0),
    ] {
        assert_eq!(reader.get(path).await.status, StatusCode::OK, "{path}");
    }

    let image = CheckImage {
        fingerprint: Fingerprint::of(&fresh),
        size: 100_000,
        proof: None,
    };
    assert_eq!(
        reader.check_raw(&[image]).await.code(),
        ErrorCode::ScopeTooNarrow
    );
    let sent = reader
        .put_raw(Fingerprint::of(&fresh), 100_000, 0, &fresh)
        .await;
    assert_eq!(
        (sent.status, sent.code()),
        (StatusCode::FORBIDDEN, ErrorCode::ScopeTooNarrow)
    );
    assert_eq!(
        reader.ask(Method::DELETE, &upload).await.code(),
        ErrorCode::ScopeTooNarrow
    );
    let batch = LibraryBatch {
        changes: vec![put("b.jpg", &kept, 0)],
    };
    assert_eq!(
        reader.post(route::LIBRARY_CHANGES, &batch).await.code(),
        ErrorCode::ScopeTooNarrow
    );

    assert!(matches!(
        anna.check(&fresh).await,
        CheckedImage::Absent { .. }
    ));
    assert!(matches!(
        anna.check(&half).await,
        CheckedImage::Interrupted { .. }
    ));
    server.close().await;
}

#[tokio::test]
async fn a_read_only_token_cannot_link_an_image() {
    let server = TestServer::start().await;
    let ben = server.client("ben").await;
    let reader = server.device("anna", Scope::ReadOnly).await;
    let photo = photo(1, 100_000);
    ben.store(&photo).await;
    let session = reader.session().await;
    let proof = Some(prove(&session, session.user, &photo));
    let image = CheckImage {
        fingerprint: Fingerprint::of(&photo),
        size: 100_000,
        proof,
    };
    assert_eq!(
        reader.check_raw(&[image]).await.code(),
        ErrorCode::ScopeTooNarrow
    );
    assert!(!reader.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn a_hijacked_append_only_device_destroys_nothing() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let camera = server.device("anna", Scope::AppendOnly).await;
    let (kept, noise, half) = (photo(1, 100_000), photo(2, 100_000), photo(3, 100_000));
    // It can do what its scope allows.
    assert_eq!(camera.session().await.scope, Scope::AppendOnly);
    camera.store(&kept).await;
    camera.store(&noise).await;
    camera.put(&half, 0, 50_000).await;
    assert_eq!(
        change(&camera, vec![put("a.jpg", &kept, 0)]).await,
        [LibraryOutcome::Applied { version: 1 }]
    );

    let narrow = LibraryOutcome::Refused {
        code: ErrorCode::ScopeTooNarrow,
    };
    let ransom = vec![put("a.jpg", &noise, 1), remove("a.jpg", 1)];
    assert_eq!(change(&camera, ransom).await, [narrow.clone(), narrow]);
    let upload = route::upload(Fingerprint::of(&half));
    assert_eq!(
        camera.ask(Method::DELETE, &upload).await.code(),
        ErrorCode::ScopeTooNarrow
    );
    assert!(matches!(
        anna.check(&half).await,
        CheckedImage::Interrupted { .. }
    ));
    // A full token of the same user can do both.
    assert_eq!(
        change(&anna, vec![remove("a.jpg", 1)]).await,
        [LibraryOutcome::Applied { version: 2 }]
    );
    assert_eq!(
        anna.ask(Method::DELETE, &upload).await.status,
        StatusCode::NO_CONTENT
    );
    server.close().await;
}

#[tokio::test]
async fn a_revoked_device_and_a_disabled_user_lose_access_within_seconds() {
    let server = TestServer::start().await;
    let (anna, ben) = (server.client("anna").await, server.client("ben").await);
    let phone = server.device("anna", Scope::Full).await;
    for client in [&anna, &ben, &phone] {
        client.session().await;
    }
    let (accounts, index) = server.accounts().await;
    accounts.revoke_device("anna", "device").await.unwrap();
    accounts
        .set_user_state("ben", UserState::Disabled)
        .await
        .unwrap();
    for client in [&phone, &ben] {
        let out = async {
            while client.get(route::SESSION).await.status == StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LIMIT, out).await.unwrap();
        assert_eq!(
            client.get(route::SESSION).await.code(),
            ErrorCode::LoginNeeded
        );
    }
    anna.session().await;
    accounts
        .set_user_state("ben", UserState::Active)
        .await
        .unwrap();
    ben.session().await;
    index.close().await;
    server.close().await;
}
