//! One snapshot of the printed text for each state of a mount.

use std::path::Path;

use heirloom_protocol::{LibraryPath, LinkKind};
use snapbox::{assert_data_eq, file};

use super::{StatusReport, render};
use crate::control::{FailingFile, FetchReport, MountStatus, SavedBytes, StateTotals};
use crate::journal::Amount;
use crate::library::FeedStatus;
use crate::mount::IoPath;
use crate::uploader::Connection;

const fn amount(files: u64, bytes: u64) -> Amount {
    Amount { files, bytes }
}

/// A mount whose files are all backed up.
fn backed_up() -> MountStatus {
    MountStatus {
        mountpoint: "/home/anna/Cloud".into(),
        state_dir: "/home/anna/.local/state/heirloom/home-anna-Cloud".into(),
        server: "https://photos.example:8420".to_owned(),
        connection: Connection::Online,
        files: StateTotals {
            backed_up: amount(12_345, 61_700_000_000),
            local: amount(3, 4_096),
            placeholder: amount(2_000, 9_800_000_000),
            ..StateTotals::default()
        },
        comparing: false,
        rate_bytes_per_second: 0,
        shard_bytes: 4 << 20,
        link: LinkKind::Ethernet,
        sent_bytes: 516_200_000,
        saved: SavedBytes {
            sync_list_bytes: 80_000_000,
            check_bytes: 7_500_000,
            instant_upload_bytes: 1_000,
        },
        names_queued: 0,
        library: FeedStatus {
            arriving: false,
            position: 14_345,
            arrived: 0,
            conflicts: 0,
        },
        fetch: FetchReport::default(),
        failing: Vec::new(),
        io_path: IoPath::Passthrough,
        pid: 4242,
    }
}

fn printed(status: MountStatus) -> String {
    render(&StatusReport::Mounted(Box::new(status)))
}

#[test]
fn a_mount_with_everything_backed_up() {
    assert_data_eq!(
        printed(backed_up()),
        file!["../../../tests/cli/status/backed_up.txt"]
    );
}

#[test]
fn a_mount_that_is_uploading() {
    let status = MountStatus {
        files: StateTotals {
            pending: amount(40, 210_000_000),
            uploading: amount(4, 21_000_000),
            ..backed_up().files
        },
        rate_bytes_per_second: 11_300_000,
        names_queued: 1,
        io_path: IoPath::Direct,
        ..backed_up()
    };
    assert_data_eq!(
        printed(status),
        file!["../../../tests/cli/status/uploading.txt"]
    );
}

#[test]
fn a_mount_that_was_just_started() {
    let status = MountStatus {
        server: "embedded, http://127.0.0.1:40123".to_owned(),
        connection: Connection::Starting,
        files: StateTotals::default(),
        comparing: true,
        library: FeedStatus {
            arriving: true,
            arrived: 250,
            ..backed_up().library
        },
        sent_bytes: 0,
        saved: SavedBytes::default(),
        ..backed_up()
    };
    assert_data_eq!(
        printed(status),
        file!["../../../tests/cli/status/starting.txt"]
    );
}

#[test]
fn a_mount_whose_server_is_offline() {
    let status = MountStatus {
        connection: Connection::Offline {
            why: "cannot reach https://photos.example:8420: Connection refused".to_owned(),
            retry_s: 7,
        },
        ..backed_up()
    };
    assert_data_eq!(
        printed(status),
        file!["../../../tests/cli/status/offline.txt"]
    );
}

#[test]
fn a_mount_whose_token_is_rejected() {
    let status = MountStatus {
        connection: Connection::LoginNeeded,
        ..backed_up()
    };
    assert_data_eq!(
        printed(status),
        file!["../../../tests/cli/status/login_needed.txt"]
    );
}

#[test]
fn a_mount_with_failed_files() {
    let path = |text: &str| LibraryPath::new(text).unwrap();
    let status = MountStatus {
        files: StateTotals {
            failed: amount(1, 2_000_000),
            ..backed_up().files
        },
        failing: vec![
            FailingFile {
                path: path("2026/torn.jpg"),
                why: "incomplete: the file ends early".to_owned(),
            },
            FailingFile {
                path: path("2026/slow.jpg"),
                why: "the server has no space left".to_owned(),
            },
        ],
        ..backed_up()
    };
    assert_data_eq!(
        printed(status),
        file!["../../../tests/cli/status/failed.txt"]
    );
}

#[test]
fn a_mount_that_shares_its_library_with_other_devices() {
    let status = MountStatus {
        library: FeedStatus {
            conflicts: 1,
            ..backed_up().library
        },
        fetch: FetchReport {
            fetching: 1,
            fetched_bytes: 3_000_000,
            pinned_left: amount(12, 48_000_000),
        },
        names_queued: 3,
        ..backed_up()
    };
    assert_data_eq!(
        printed(status),
        file!["../../../tests/cli/status/other_devices.txt"]
    );
}

#[test]
fn a_directory_that_is_not_mounted() {
    let report = StatusReport::NotMounted {
        mountpoint: Path::new("/home/anna/Cloud").to_owned(),
        mounted: false,
    };
    assert_data_eq!(
        render(&report),
        file!["../../../tests/cli/status/not_mounted.txt"]
    );
}
