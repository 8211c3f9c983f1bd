//! The JSON of the control socket: its keys must stay the same.

use serde::de::DeserializeOwned;

use super::*;

/// Checks that a message encodes as this JSON, and decodes from it.
#[track_caller]
fn assert_json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    message: &T,
    golden: serde_json::Value,
) {
    assert_eq!(serde_json::to_value(message).unwrap(), golden);
    assert_eq!(&serde_json::from_value::<T>(golden).unwrap(), message);
}

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

const fn amount(files: u64, bytes: u64) -> Amount {
    Amount { files, bytes }
}

#[test]
fn status_json_keeps_its_keys() {
    let status = MountStatus {
        mountpoint: "/home/anna/Cloud".into(),
        state_dir: "/home/anna/.local/state/heirloom/Cloud".into(),
        server: "https://photos.example:8420".to_owned(),
        connection: Connection::Offline {
            why: "the server cannot be reached".to_owned(),
            retry_s: 7,
        },
        files: StateTotals {
            backed_up: amount(1, 2),
            pending: amount(3, 4),
            uploading: amount(5, 6),
            local: amount(7, 8),
            failed: amount(9, 10),
            placeholder: amount(11, 12),
        },
        comparing: false,
        rate_bytes_per_second: 13,
        shard_bytes: 524_288,
        link: LinkKind::Wifi,
        sent_bytes: 14,
        saved: SavedBytes {
            sync_list_bytes: 15,
            check_bytes: 16,
            instant_upload_bytes: 17,
        },
        names_queued: 18,
        library: FeedStatus {
            arriving: true,
            position: 24,
            arrived: 25,
            conflicts: 26,
        },
        fetch: FetchReport {
            fetching: 19,
            fetched_bytes: 20,
            pinned_left: amount(21, 22),
        },
        failing: vec![FailingFile {
            path: path("2026/a.jpg"),
            why: "incomplete".to_owned(),
        }],
        io_path: IoPath::Passthrough,
        pid: 23,
    };
    let amount = |files: u64, bytes: u64| serde_json::json!({ "files": files, "bytes": bytes });
    assert_json(
        &status,
        serde_json::json!({
            "mountpoint": "/home/anna/Cloud",
            "state_dir": "/home/anna/.local/state/heirloom/Cloud",
            "server": "https://photos.example:8420",
            "connection": { "state": "offline", "why": "the server cannot be reached", "retry_s": 7 },
            "files": {
                "backed_up": amount(1, 2),
                "pending": amount(3, 4),
                "uploading": amount(5, 6),
                "local": amount(7, 8),
                "failed": amount(9, 10),
                "placeholder": amount(11, 12),
            },
            "comparing": false,
            "rate_bytes_per_second": 13,
            "shard_bytes": 524_288,
            "link": "wifi",
            "sent_bytes": 14,
            "saved": { "sync_list_bytes": 15, "check_bytes": 16, "instant_upload_bytes": 17 },
            "names_queued": 18,
            "library": { "arriving": true, "position": 24, "arrived": 25, "conflicts": 26 },
            "recall": { "fetching": 19, "fetched_bytes": 20, "pinned_left": amount(21, 22) },
            "failing": [{ "path": "2026/a.jpg", "why": "incomplete" }],
            "io_path": "passthrough",
            "pid": 23,
        }),
    );
}

#[test]
fn retry_messages_keep_their_keys() {
    assert_json(
        &RetryRequest {
            paths: vec![path("2026/a.jpg")],
        },
        serde_json::json!({ "paths": ["2026/a.jpg"] }),
    );
    assert_json(
        &RetryResponse {
            again: amount(1, 2),
            refused: vec![FailingFile {
                path: path("b.jpg"),
                why: "it is being written".to_owned(),
            }],
        },
        serde_json::json!({
            "again": { "files": 1, "bytes": 2 },
            "refused": [{ "path": "b.jpg", "why": "it is being written" }],
        }),
    );
    let unknown = serde_json::json!({ "paths": [], "force": true });
    assert!(
        serde_json::from_value::<RetryRequest>(unknown).is_err(),
        "an unknown key is rejected"
    );
}
