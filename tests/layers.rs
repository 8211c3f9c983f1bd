//! The client's modules are layers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../protocol/tests/layers/order.rs"]
mod order;

#[test]
fn every_module_names_only_modules_below_it() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let strict = [
        "control",
        "mount",
        "passthrough_helper",
        "intake",
        "uploader",
        "library",
        "fetch",
    ];
    assert_eq!(order::violations(&src, &strict), Vec::<String>::new());
}
