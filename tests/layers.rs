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

#[test]
fn only_the_adapter_and_the_passthrough_helper_know_the_fuse_library() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let knows = |file: &std::path::PathBuf| {
        std::fs::read_to_string(file)
            .unwrap()
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains("fuser::"))
    };
    let outside = |file: &std::path::PathBuf| {
        !file.starts_with(src.join("mount/fuse"))
            && *file != src.join("passthrough_helper/backing_ioctl.rs")
    };
    let found: Vec<_> = order::files(&src)
        .into_iter()
        .filter(outside)
        .filter(knows)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
