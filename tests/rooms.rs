//! A room names only rooms below it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../protocol/tests/rooms/order.rs"]
mod order;

#[test]
fn every_room_names_only_rooms_below_it() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(order::wrong_turns(&src), Vec::<String>::new());
}
