//! Going on from the shards that had arrived, by either list alone (M6).

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
async fn the_servers_list_alone_is_enough_to_go_on() {
    let house = Fixture::paused().await;
    let content = photo(1, SIZE);
    house
        .server
        .state()
        .uploads
        .insert(Fingerprint::of(&content), arrived(&content));
    house.keep("film.jpg", &content);
    house.until_settled(1).await;
    assert_eq!(house.server.state().shard_bytes(), SIZE / 2);
    house.end().await;
}

#[tokio::test]
async fn our_own_list_alone_is_enough_to_go_on() {
    let house = Fixture::paused().await;
    let content = photo(1, SIZE);
    house
        .server
        .state()
        .uploads
        .insert(Fingerprint::of(&content), arrived(&content));
    house.server.state().tells_of_uploads = false;
    house
        .journal
        .replace_shards(Fingerprint::of(&content), &half())
        .unwrap();
    house.keep("film.jpg", &content);
    house.until_settled(1).await;
    assert_eq!(house.server.state().shard_bytes(), SIZE / 2);
    house.end().await;
}

#[tokio::test]
async fn where_the_lists_differ_the_servers_word_wins() {
    let house = Fixture::paused().await;
    let content = photo(1, SIZE);
    // We believe that everything arrived; the server had to start over.
    house
        .journal
        .replace_shards(Fingerprint::of(&content), &RangeSet::whole(SIZE as u64))
        .unwrap();
    house.keep("film.jpg", &content);
    house.until_settled(1).await;
    assert_eq!(house.server.state().shard_bytes(), SIZE);
    assert_eq!(
        house.server.state().images[&Fingerprint::of(&content)],
        content
    );
    assert!(
        house
            .journal
            .shards(Fingerprint::of(&content))
            .unwrap()
            .is_empty(),
        "a receipt ends the shard list"
    );
    house.end().await;
}

#[tokio::test]
async fn what_is_noted_here_is_never_more_than_the_server_acknowledged() {
    let house = Fixture::paused().await;
    house.server.state().shard_takes = std::time::Duration::from_millis(100);
    let content = photo(1, 40 << 20);
    let image = Fingerprint::of(&content);
    house.keep("film.jpg", &content);
    house.go();
    house
        .until(|house| !house.journal.shards(image).unwrap().is_empty())
        .await;
    house.uploader.stop().await;
    let noted = house.journal.shards(image).unwrap();
    let held = house.server.state().uploads[&image].received.clone();
    assert!(noted.without(&held).is_empty(), "{noted:?} of {held:?}");
    house.end().await;
}
