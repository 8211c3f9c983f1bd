//! The uploader against the real server: what holds with the fake one holds here.

use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, LibraryPath};
use heirloom_server::config::{Config, DataDir};
use heirloom_server::serve::Server;
use tempfile::TempDir;

use super::fixture::{Fixture, photo};
use crate::config::Login;
use crate::remote::Remote;
use crate::remote::fake::FakeServer;
use crate::uploader::{BackupOutcome, ImageFile, NoProgress, Transport, back_up};

async fn real_server(data: &TempDir) -> Server {
    let config = Config::new(DataDir::open(data.path()).unwrap());
    Server::start(config, "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
}

async fn login(server: &Server, user: &str) -> Login {
    Login {
        server: format!("http://{}", server.address()).parse().unwrap(),
        token: server.token_for(user).await.unwrap().parse().unwrap(),
        ca_file: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_large_photos_reach_the_real_server_with_their_names() {
    let data = TempDir::new().unwrap();
    let server = real_server(&data).await;
    let anna = login(&server, "anna").await;
    let fixture = Fixture::with_login(FakeServer::start().await, anna.clone());
    for number in 0..40 {
        fixture.add_photo(&format!("{number}.jpg"), &photo(number, 120_000));
    }
    fixture.add_photo("large.jpg", &photo(99, 20 << 20));
    fixture.until_backed_up(41).await;
    let remote = Remote::new(&anna).unwrap();
    assert_eq!(remote.status().await.unwrap().images, 41);
    let names = tokio::time::timeout(Duration::from_secs(20), async {
        let (mut since, mut names) = (0, 0);
        while names < 41 {
            let feed = remote.library_feed(since, 5).await.unwrap();
            names += feed
                .entries
                .iter()
                .filter(|entry| entry.photo.is_some())
                .count();
            since = feed.next;
        }
        names
    });
    assert_eq!(names.await.unwrap(), 41);
    fixture.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_with_the_same_photos_sends_no_photo() {
    let data = TempDir::new().unwrap();
    let server = real_server(&data).await;
    let (anna, ben) = (login(&server, "anna").await, login(&server, "ben").await);
    let first = Fixture::with_login(FakeServer::start().await, anna);
    let second = Fixture::with_login(FakeServer::start().await, ben);
    for number in 0..5 {
        first.add_photo(&format!("{number}.jpg"), &photo(number, 200_000));
    }
    first.until_backed_up(5).await;
    for number in 0..5 {
        second.add_photo(&format!("mine {number}.jpg"), &photo(number, 200_000));
    }
    second.until_backed_up(5).await;
    let status = second.uploader.status();
    assert_eq!(
        (status.sent_bytes, status.saved_by_instant_upload_bytes),
        (0, 5 * 200_000)
    );
    first.stop().await;
    second.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_oneshot_upload_is_sent_once() {
    let data = TempDir::new().unwrap();
    let server = real_server(&data).await;
    let fixture = Fixture::with_login(FakeServer::start().await, login(&server, "other").await);
    let transport = Transport::new(Remote::new(&login(&server, "anna").await).unwrap());
    let content = photo(1, 11 << 20);
    fixture.write("photo.jpg", &content);
    let open = || {
        let file = fixture
            .spool
            .open_read(&LibraryPath::new("photo.jpg").unwrap())
            .unwrap();
        let (_, stamp) = crate::spool::Spool::identify(&file).unwrap();
        Arc::new(ImageFile::new(file, stamp, Fingerprint::of(&content)))
    };
    let first = back_up(&transport, open(), Arc::new(NoProgress))
        .await
        .unwrap();
    assert!(matches!(first, BackupOutcome::Sent(receipt) if receipt.size == 11 << 20));
    let second = back_up(&transport, open(), Arc::new(NoProgress))
        .await
        .unwrap();
    assert!(matches!(second, BackupOutcome::AlreadyStored(_)));
    assert_eq!(transport.sent_bytes(), 11 << 20);
    fixture.stop().await;
    server.stop().await.unwrap();
}
