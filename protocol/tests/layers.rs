//! The modules of the protocol, and of what both sides share, are layers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "layers/order.rs"]
mod order;

use std::path::Path;

#[test]
fn every_module_names_only_modules_below_it() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    for src in ["src", "support/src"] {
        assert_eq!(
            order::violations(&crates.join(src), &[]),
            Vec::<String>::new(),
            "{src}"
        );
    }
}
