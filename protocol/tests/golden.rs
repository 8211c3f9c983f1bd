//! Every message keeps its spelling: an older client or server still has to read it.
#![expect(clippy::unwrap_used, reason = "a failure here is the test's answer")]

use std::path::Path;

use heirloom_protocol::batch::{self, BatchEntry, BatchHeader, BatchOutcome};
use heirloom_protocol::message::{
    CheckImage, CheckedImage, CrossUser, FreshReceipt, LibraryBatch, LibraryChange, LibraryEntry,
    LibraryFeed, LibraryOutcome, LibraryOutcomes, LibraryPhoto, Limits, LoginAnswer, LoginRequest,
    Receipt, Scope, ServerStatus, Session, TrashPage, TrashedPhoto, UploadState, WantedPage,
};
use heirloom_protocol::possession::{Nonce, Proof, UserId};
use heirloom_protocol::signature::{ReceiptKey, Signature};
use heirloom_protocol::{
    ByteRange, ErrorCode, Fingerprint, LibraryPath, Problem, RangeSet, ShardSize, route,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Compares `message` with its golden file, both ways. A missing file is written and fails the test
/// once.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, message: &T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"));
    let written = serde_json::to_string_pretty(message).unwrap() + "\n";
    let Ok(kept) = std::fs::read_to_string(&path) else {
        std::fs::write(&path, written).unwrap();
        panic!(
            "{} was missing and is written now: read it, then run again",
            path.display()
        );
    };
    assert_eq!(
        kept, written,
        "{name} is spelled differently now: that breaks clients and servers in use"
    );
    assert_eq!(&serde_json::from_str::<T>(&kept).unwrap(), message);
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of(b"golden")
}

fn receipt() -> Receipt {
    Receipt {
        fingerprint: fingerprint(),
        size: 6,
        stored_at_ms: 1_795_000_000_000,
        signature: None,
    }
}

fn ranges() -> RangeSet {
    [(0, 4096), (8192, 12288)]
        .into_iter()
        .map(|(start, end)| ByteRange::new(start, end).unwrap())
        .collect()
}

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

#[test]
fn every_message_keeps_its_spelling() {
    let login = LoginRequest {
        user: "anna".to_owned(),
        password: "correct horse".to_owned(),
        device: "laptop".to_owned(),
    };
    assert!(!format!("{login:?}").contains("horse"));
    golden("login_request", &login);
    let answer = LoginAnswer {
        token: "hl_00".to_owned(),
    };
    assert!(!format!("{answer:?}").contains("hl_"));
    golden("login_answer", &answer);
    golden(
        "session",
        &Session {
            user: UserId(42),
            name: "anna".to_owned(),
            scope: Scope::AppendOnly,
            installation: "000102030405060708090a0b0c0d0e0f".to_owned(),
            nonce: Nonce::from([1; 32]),
            nonce_renewal_s: 1800,
            cross_user: CrossUser::Proof,
            receipt_key: Some(ReceiptKey::from([4; 32])),
            limits: Limits {
                check_images_max: route::CHECK_IMAGES_MAX,
                library_changes_max: route::LIBRARY_CHANGES_MAX,
                shard_bytes_min: ShardSize::MIN.bytes(),
                shard_bytes_max: ShardSize::MAX.bytes(),
                image_bytes_max: route::IMAGE_BYTES_MAX,
                batch_bytes_max: batch::BYTES_MAX,
            },
            server_time_ms: 1_795_000_000_000,
        },
    );
    golden(
        "check_request",
        &vec![
            CheckImage {
                fingerprint: fingerprint(),
                size: 6,
                proof: None,
            },
            CheckImage {
                fingerprint: fingerprint(),
                size: 6,
                proof: Some(Proof::from([2; 32])),
            },
        ],
    );
    golden(
        "check_answer",
        &vec![
            CheckedImage::Owned { receipt: receipt() },
            CheckedImage::Linked { receipt: receipt() },
            CheckedImage::Interrupted {
                fingerprint: fingerprint(),
                received: ranges(),
            },
            CheckedImage::Absent {
                fingerprint: fingerprint(),
            },
        ],
    );
    golden(
        "upload_receiving",
        &UploadState::Receiving {
            size: 16_384,
            received: ranges(),
        },
    );
    golden("upload_stored", &UploadState::Stored { receipt: receipt() });
    golden(
        "library_request",
        &LibraryBatch {
            changes: vec![
                LibraryChange::Put {
                    path: path("2026/a.jpg"),
                    fingerprint: fingerprint(),
                    mtime_ns: -1,
                    base: 0,
                },
                LibraryChange::Move {
                    from: path("2026/a.jpg"),
                    to: path("b.jpg"),
                    base: 1,
                },
                LibraryChange::Remove {
                    path: path("b.jpg"),
                    base: 2,
                },
            ],
        },
    );
    golden(
        "library_outcomes",
        &LibraryOutcomes {
            outcomes: vec![
                LibraryOutcome::Applied { version: 1 },
                LibraryOutcome::Conflict { current: 7 },
                LibraryOutcome::Refused {
                    code: ErrorCode::ImageNotHeld,
                },
            ],
        },
    );
    golden(
        "library_feed",
        &LibraryFeed {
            entries: vec![
                LibraryEntry {
                    version: 1,
                    path: path("a.jpg"),
                    photo: Some(LibraryPhoto {
                        fingerprint: fingerprint(),
                        size: 6,
                        mtime_ns: 5,
                    }),
                },
                LibraryEntry {
                    version: 2,
                    path: path("gone.jpg"),
                    photo: None,
                },
            ],
            next: 2,
            more: false,
            wanted: 0,
        },
    );
    golden(
        "status",
        &ServerStatus {
            version: "0.1.0".to_owned(),
            images: 3,
            image_bytes: 9000,
            library_photos: 4,
            trashed_photos: 1,
            interrupted_uploads: 2,
            held_bytes: 9500,
            quota_bytes: Some(1_000_000),
            damaged_images: 1,
        },
    );
    golden(
        "problem",
        &Problem::new(ErrorCode::DigestMismatch).with_detail("shard 0..4096"),
    );
}

#[test]
fn a_signed_receipt_keeps_its_spelling() {
    let receipt = Receipt {
        signature: Some(Signature::from([5; 64])),
        ..receipt()
    };
    golden("upload_stored_signed", &UploadState::Stored { receipt });
    golden(
        "fresh_receipt",
        &FreshReceipt {
            receipt,
            hashed_at_ms: 1_795_000_000_001,
        },
    );
}

#[test]
fn a_page_of_wanted_images_keeps_its_spelling() {
    golden(
        "wanted",
        &WantedPage {
            fingerprints: vec![fingerprint()],
            more: true,
        },
    );
    golden(
        "library_feed_wanting",
        &LibraryFeed {
            entries: Vec::new(),
            next: 2,
            more: false,
            wanted: 3,
        },
    );
}

#[test]
fn the_trash_keeps_its_spelling() {
    golden(
        "trash",
        &TrashPage {
            entries: vec![TrashedPhoto {
                path: path("2026/a.jpg"),
                version: 3,
                photo: LibraryPhoto {
                    fingerprint: fingerprint(),
                    size: 6,
                    mtime_ns: -1,
                },
                removed_at_ms: 1_795_000_000_000,
                current_version: 0,
            }],
            next: 3,
            more: false,
            kept_for_s: 2_592_000,
        },
    );
}

#[test]
fn a_batch_of_images_keeps_its_spelling() {
    golden(
        "batch_header",
        &BatchHeader {
            images: vec![BatchEntry {
                fingerprint: fingerprint(),
                size: 6,
            }],
        },
    );
    golden(
        "batch_outcomes",
        &vec![
            BatchOutcome::Stored { receipt: receipt() },
            BatchOutcome::Damaged {
                fingerprint: fingerprint(),
            },
        ],
    );
}

#[test]
fn every_error_code_has_one_word_and_a_fitting_status() {
    for code in ErrorCode::ALL {
        assert_eq!(
            serde_json::to_string(&code).unwrap(),
            format!("\"{}\"", code.as_str())
        );
        assert!((400..600).contains(&code.status()), "{code:?}");
    }
    let words: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| format!("{} {}", code.status(), code.as_str()))
        .collect();
    golden("error_codes", &words);
}

#[test]
fn a_request_with_an_unknown_field_is_refused() {
    let image =
        serde_json::json!([{ "fingerprint": fingerprint(), "size": 6, "skip_verification": true }]);
    assert!(serde_json::from_value::<Vec<CheckImage>>(image).is_err());
    let change = serde_json::json!({ "change": "remove", "path": "a", "base": 0, "purge": true });
    let batch = serde_json::json!({ "changes": [change] });
    assert!(serde_json::from_value::<LibraryBatch>(batch).is_err());
}

#[test]
fn an_answer_with_an_unknown_field_is_read() {
    let answer = serde_json::json!([{
        "state": "absent",
        "fingerprint": fingerprint(),
        "hint": "new in version 2",
    }]);
    assert!(serde_json::from_value::<Vec<CheckedImage>>(answer).is_ok());
}

#[test]
fn a_session_of_a_server_without_scopes_is_one_of_a_full_token() {
    let kept = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/session.json"),
    )
    .unwrap();
    let before = kept.replace("  \"scope\": \"append_only\",\n", "");
    assert_ne!(before, kept);
    assert_eq!(
        serde_json::from_str::<Session>(&before).unwrap().scope,
        Scope::Full
    );
}

#[test]
fn a_path_that_leaves_the_library_is_refused_on_the_wire() {
    for path in ["../a", "/a", "a/../b", "a\u{0}b", ""] {
        let batch =
            serde_json::json!({ "changes": [{ "change": "remove", "path": path, "base": 0 }] });
        assert!(
            serde_json::from_value::<LibraryBatch>(batch).is_err(),
            "{path:?}"
        );
    }
}
