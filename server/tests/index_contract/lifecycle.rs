//! Opening, closing, committing in groups.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;
use heirloom_server::index::{Index, IndexError};

use super::{TestIndex, applied, device, image, length_of, put, range, two_users};

pub(super) async fn reopening_keeps_everything(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    let token = index.add_device(anna, device([1; 32])).await.unwrap();
    let receipt = index.add_holding(anna, image(1), 10).await.unwrap();
    let entry = index
        .record_shard(ben, image(2), 10, range(2, 5))
        .await
        .unwrap();
    index.count_proof_failure(ben, 1).await.unwrap();
    index
        .change_library(anna, vec![put("a", 1, 0)])
        .await
        .unwrap();
    index.quarantine(image(3)).await.unwrap();
    let secret = index.secret().await.unwrap();
    index.close().await;

    let index = fixture.open().await;
    assert_eq!(index.user_named("anna").await.unwrap(), Some(anna));
    assert_eq!(
        index.token_owner([1; 32]).await.unwrap().unwrap().token,
        token
    );
    assert_eq!(
        index.receipts(anna, &[image(1)]).await.unwrap()[&image(1)],
        receipt
    );
    assert_eq!(
        index.interrupted_uploads(ben, &[image(2)]).await.unwrap()[&image(2)],
        entry
    );
    assert_eq!(index.proof_failures(ben, 1).await.unwrap(), 1);
    assert_eq!(
        index
            .library_changes(anna, 0, 10)
            .await
            .unwrap()
            .entries
            .len(),
        1
    );
    assert_eq!(
        index
            .change_library(anna, vec![put("b", 1, 0)])
            .await
            .unwrap(),
        [applied(2)]
    );
    assert_eq!(index.secret().await.unwrap(), secret);
}

pub(super) async fn the_secret_is_generated_once(fixture: &TestIndex) {
    // Servers that start together on an empty index.
    let url = fixture.url.clone();
    let opening: Vec<_> = (0..8)
        .map(|_| url.clone())
        .map(|url| tokio::spawn(async move { Index::open(&url).await }))
        .collect();
    let mut secrets = Vec::new();
    for open in opening {
        secrets.push(open.await.unwrap().unwrap().secret().await.unwrap());
    }
    assert_ne!(secrets[0], [0; 32]);
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
}

pub(super) async fn concurrent_writes_are_all_committed(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    let writes = (0..400).map(|number| {
        let index = index.clone();
        let user = if number % 2 == 0 { anna } else { ben };
        tokio::spawn(async move { index.add_holding(user, image(number / 2), 10).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    index.close().await;
    let index = fixture.open().await;
    for user in [anna, ben] {
        assert_eq!(index.status(user).await.unwrap().images, 200);
    }
}

pub(super) async fn a_refused_write_does_not_affect_its_group(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    index
        .record_shard(anna, image(1), 20, range(0, 1))
        .await
        .unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..50_u64 {
        let (taken, misfit, lost, good) =
            (index.clone(), index.clone(), index.clone(), index.clone());
        writes.spawn(async move {
            matches!(taken.add_user("anna").await, Err(IndexError::NameTaken(_)))
        });
        writes.spawn(async move {
            let noted = misfit.record_shard(anna, image(1), 21, range(0, 9)).await;
            matches!(noted, Err(IndexError::SizeMismatch { .. }))
        });
        writes.spawn(async move {
            let changed = lost.change_library(UserId(1), vec![put("a", 1, 0)]).await;
            matches!(changed, Err(IndexError::NoSuchUser(_)))
        });
        writes.spawn(async move {
            good.record_shard(anna, image(2), 200, range(2 * number, 2 * number + 1))
                .await
                .is_ok()
        });
    }
    assert!(
        writes
            .join_all()
            .await
            .into_iter()
            .all(|as_it_should_be| as_it_should_be)
    );
    let noted = index
        .interrupted_uploads(anna, &[image(1), image(2)])
        .await
        .unwrap();
    assert_eq!(noted[&image(1)].received.byte_count(), 1);
    assert_eq!(noted[&image(2)].received.byte_count(), 50);
}

pub(super) async fn a_write_completes_even_if_its_caller_stops_waiting(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    for number in 0..20 {
        let waiting = index.add_holding(anna, image(number), 10);
        // Long enough to queue it, mostly too short for its commit.
        drop(tokio::time::timeout(Duration::from_micros(50), waiting).await);
    }
    // Handed in behind them, so committed behind them.
    index.add_holding(anna, image(100), 10).await.unwrap();
    let held = index.status(anna).await.unwrap().images;
    assert!(held >= 2, "{held} images are held");
    for number in 0..20 {
        index.add_holding(anna, image(number), 10).await.unwrap();
    }
    assert_eq!(index.status(anna).await.unwrap().images, 21);
}

pub(super) async fn a_closed_index_fails_with_closed(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    let writes: Vec<_> = (0..20)
        .map(|number| {
            let index = index.clone();
            tokio::spawn(async move { index.add_holding(anna, image(number), 10).await })
        })
        .collect();
    tokio::join!(index.close(), index.close());
    assert!(matches!(
        index.add_holding(anna, image(99), 10).await,
        Err(IndexError::Closed)
    ));
    assert!(matches!(
        index.image_sizes(&[image(1)]).await,
        Err(IndexError::Closed)
    ));
    let mut answered = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => assert!(matches!(error, IndexError::Closed), "{error}"),
        }
    }
    let again = fixture.open().await;
    assert_eq!(
        again.status(anna).await.unwrap().images,
        answered,
        "what was answered holds, and nothing else"
    );
}

pub(super) async fn two_processes_can_write_concurrently(fixture: &TestIndex) {
    let (server, anna, ben) = two_users(fixture).await;
    let admin = fixture.open().await;
    // A link reads before it writes: what it read must not be outdated by the other process.
    let hold_and_link = |index: Index, first: u32| async move {
        for number in first..first + 50 {
            index.add_holding(anna, image(number), 10).await.unwrap();
            index.link(ben, image(number)).await.unwrap().unwrap();
        }
    };
    tokio::join!(
        hold_and_link(server.clone(), 0),
        hold_and_link(admin.clone(), 50)
    );
    assert_eq!(server.status(anna).await.unwrap().images, 100);
    assert_eq!(server.status(ben).await.unwrap().images, 100);
    admin.close().await;
    server.add_holding(anna, image(100), 10).await.unwrap();
    assert_eq!(fixture.open().await.status(anna).await.unwrap().images, 101);
}

pub(super) async fn the_files_are_private(fixture: &TestIndex) {
    let (index, anna, _) = two_users(fixture).await;
    index.add_holding(anna, image(1), 10).await.unwrap();
    let files = std::fs::read_dir(fixture.folder.path().join("data")).unwrap();
    let mut seen = 0;
    for file in files
        .map(Result::unwrap)
        .filter(|file| file.file_name().to_string_lossy().starts_with("index"))
    {
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{file:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 3, "the database, its log and its shared memory");
}

pub(super) async fn an_index_of_a_newer_server_is_refused(fixture: &TestIndex) {
    fixture.open().await.close().await;
    sqlx::any::install_default_drivers();
    let newer = sqlx::AnyPool::connect(&fixture.url).await.unwrap();
    sqlx::query("UPDATE schema_version SET version = 7")
        .execute(&newer)
        .await
        .unwrap();
    newer.close().await;
    let error = Index::open(&fixture.url).await.unwrap_err();
    assert!(
        matches!(error, IndexError::NewerSchema { found: 7, known: 6 }),
        "{error}"
    );
}

/// As the first server wrote them: what its tables of users and tokens looked like, with one of
/// each.
const FIRST_SCHEMA: [&str; 6] = [
    "CREATE TABLE schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
    "INSERT INTO schema_version VALUES (1, 1)",
    "CREATE TABLE users (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, library_version BIGINT NOT NULL, created_ms BIGINT NOT NULL)",
    "INSERT INTO users VALUES (7, 'anna', 3, 1)",
    "CREATE TABLE tokens (
        hash BYTEA PRIMARY KEY, id BIGINT NOT NULL UNIQUE, user_id BIGINT NOT NULL, created_ms BIGINT NOT NULL)",
    "INSERT INTO tokens VALUES (zeroblob(32), 9, 7, 1), (x'01', 10, 7, 1)",
];

pub(super) async fn an_index_of_the_first_schema_is_migrated(fixture: &TestIndex) {
    std::fs::write(fixture.folder.path().join("data/index.sqlite"), "").unwrap();
    sqlx::any::install_default_drivers();
    let first = sqlx::AnyPool::connect(&fixture.url).await.unwrap();
    for statement in FIRST_SCHEMA {
        sqlx::query(statement).execute(&first).await.unwrap();
    }
    first.close().await;
    for _ in 0..2 {
        let index = fixture.open().await;
        let owner = index.token_owner([0; 32]).await.unwrap().unwrap();
        assert_eq!(
            (owner.user, owner.name.as_str(), owner.scope),
            (UserId(7), "anna", Scope::Full)
        );
        let devices = index.devices(UserId(7)).await.unwrap();
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["device-10", "device-9"]);
        index.close().await;
    }
}

/// Turns a current index into one of the fourth schema.
const DOWNGRADE_TO_FOURTH: [&str; 4] = [
    "DROP TABLE released",
    "DROP INDEX holdings_by_image",
    "DROP INDEX uploads_by_image",
    "UPDATE schema_version SET version = 4",
];

pub(super) async fn migrating_from_the_fourth_schema_finds_unreferenced_images(
    fixture: &TestIndex,
) {
    let (index, anna, ben) = two_users(fixture).await;
    for number in 1..=3 {
        index.add_holding(anna, image(number), 100).await.unwrap();
    }
    index.add_holding(ben, image(2), 100).await.unwrap();
    index.close().await;
    let older = sqlx::AnyPool::connect(&fixture.url).await.unwrap();
    for statement in DOWNGRADE_TO_FOURTH {
        sqlx::query(statement).execute(&older).await.unwrap();
    }
    sqlx::query("DELETE FROM holdings WHERE user_id = $1 AND fingerprint <> $2")
        .bind(anna.0)
        .bind(image(3).as_bytes().as_slice())
        .execute(&older)
        .await
        .unwrap();
    older.close().await;
    let index = fixture.open().await;
    assert_eq!(index.unreferenced(0, None, 10).await.unwrap(), [image(1)]);
    assert_eq!(
        index
            .delete_unreferenced(vec![image(1), image(2), image(3)], 0)
            .await
            .unwrap(),
        [image(1)]
    );
    assert_eq!(length_of(&index, image(2)).await, Some(100));
}
