//! Resuming from the shards that arrived, by either list alone.

use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};

use super::fixture::{Fixture, photo};
use crate::remote::fake::Partial;

const SIZE: usize = 20 << 20;

/// The first and the last quarter.
fn half() -> RangeSet {
    let quarter = SIZE as u64 / 4;
    [
        ByteRange::new(0, quarter).unwrap(),
        ByteRange::new(3 * quarter, 4 * quarter).unwrap(),
    ]
    .into_iter()
    .collect()
}

fn arrived(content: &[u8]) -> Partial {
    let mut bytes = vec![0; SIZE];
    for range in half().iter() {
        let range = usize::try_from(range.start()).unwrap()..usize::try_from(range.end()).unwrap();
        bytes[range.clone()].copy_from_slice(&content[range]);
    }
    Partial {
        bytes,
        received: half(),
    }
}

#[tokio::test]
async fn the_interruption_list_alone_is_enough_to_resume() {
    let fixture = Fixture::idle().await;
    let content = photo(1, SIZE);
    fixture
        .server
        .state()
        .uploads
        .insert(Fingerprint::of(&content), arrived(&content));
    fixture.add_photo("large.jpg", &content);
    fixture.until_backed_up(1).await;
    assert_eq!(fixture.server.state().shard_bytes(), SIZE / 2);
    fixture.stop().await;
}

#[tokio::test]
async fn the_shard_list_alone_is_enough_to_resume() {
    let fixture = Fixture::idle().await;
    let content = photo(1, SIZE);
    fixture
        .server
        .state()
        .uploads
        .insert(Fingerprint::of(&content), arrived(&content));
    fixture.server.state().reports_interrupted = false;
    fixture
        .journal
        .replace_shards(Fingerprint::of(&content), &half())
        .unwrap();
    fixture.add_photo("large.jpg", &content);
    fixture.until_backed_up(1).await;
    assert_eq!(fixture.server.state().shard_bytes(), SIZE / 2);
    fixture.stop().await;
}

#[tokio::test]
async fn the_servers_list_wins_where_the_lists_differ() {
    let fixture = Fixture::idle().await;
    let content = photo(1, SIZE);
    // Our list says that everything arrived; the server had to start over.
    fixture
        .journal
        .replace_shards(Fingerprint::of(&content), &RangeSet::whole(SIZE as u64))
        .unwrap();
    fixture.add_photo("large.jpg", &content);
    fixture.until_backed_up(1).await;
    assert_eq!(fixture.server.state().shard_bytes(), SIZE);
    assert_eq!(
        fixture.server.state().images[&Fingerprint::of(&content)],
        content
    );
    assert!(
        fixture
            .journal
            .shards(Fingerprint::of(&content))
            .unwrap()
            .is_empty(),
        "a receipt ends the shard list"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn the_shard_list_never_exceeds_what_the_server_acknowledged() {
    let fixture = Fixture::idle().await;
    fixture.server.state().shard_duration = std::time::Duration::from_millis(100);
    let content = photo(1, 40 << 20);
    let image = Fingerprint::of(&content);
    fixture.add_photo("large.jpg", &content);
    fixture.wake();
    fixture
        .until(|fixture| !fixture.journal.shards(image).unwrap().is_empty())
        .await;
    fixture.uploader.stop().await;
    let listed = fixture.journal.shards(image).unwrap();
    let held = fixture.server.state().uploads[&image].received.clone();
    assert!(listed.without(&held).is_empty(), "{listed:?} of {held:?}");
    fixture.stop().await;
}
