//! The server's modules are layers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../protocol/tests/layers/order.rs"]
mod order;

#[test]
fn every_module_names_only_modules_below_it() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(
        order::violations(&src, &["uploads", "index", "blobs"]),
        Vec::<String>::new()
    );
}
