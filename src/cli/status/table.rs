//! Renders a status report as text for people.

use std::fmt::Write as _;

use heirloom_support::units::display_bytes;

use super::StatusReport;
use crate::cli::format;
use crate::control::MountStatus;
use crate::uploader::Connection;

/// The lines that `heirloom status` prints for one mountpoint.
pub(super) fn render(report: &StatusReport) -> String {
    match report {
        StatusReport::NotMounted { mountpoint, .. } => {
            format!(
                "{0}: not mounted; mount it with `heirloom mount {0}`\n",
                mountpoint.display()
            )
        }
        StatusReport::Mounted(status) => mounted(status),
    }
}

fn mounted(status: &MountStatus) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a String succeeds");
    line(format!(
        "{}  ({})",
        status.mountpoint.display(),
        connection(status)
    ));
    let files = &status.files;
    for (state, amount) in [
        ("backed up", files.backed_up),
        ("uploading", files.uploading),
        ("pending", files.pending),
        ("failed", files.failed),
        ("local", files.local),
        ("placeholder", files.placeholder),
    ] {
        line(format!(
            "  {state:<12} {:>9}  {:>10}",
            amount.files,
            display_bytes(amount.bytes)
        ));
    }
    if status.comparing {
        line("  still checking the directory after the start; counts may be too low".to_owned());
    }
    line(format!(
        "  sent {} at {}/s, {} per shard, {}",
        display_bytes(status.sent_bytes),
        display_bytes(status.rate_bytes_per_second),
        display_bytes(status.shard_bytes),
        status.link
    ));
    let saved = status.saved;
    line(format!(
        "  not sent because already backed up: {} (known locally), {} (known to server), {} \
         (proved by hash)",
        display_bytes(saved.sync_list_bytes),
        display_bytes(saved.check_bytes),
        display_bytes(saved.instant_upload_bytes)
    ));
    if status.library.arriving {
        line(format!(
            "  still loading the library: {} so far",
            format::files(status.library.arrived)
        ));
    }
    if status.library.conflicts > 0 {
        line(format!(
            "  {}: the other device's photo is shown as \"… (from another device)\"",
            format::counted(status.library.conflicts, "name conflict")
        ));
    }
    if status.fetch.fetching > 0 {
        line(format!(
            "  downloading {}",
            format::files(status.fetch.fetching)
        ));
    }
    if status.fetch.pinned_left.files > 0 {
        line(format!(
            "  pinned, not downloaded yet: {}",
            format::amount(status.fetch.pinned_left)
        ));
    }
    if status.names_queued > 0 {
        line(format!(
            "  {} not sent to the server yet",
            format::counted(status.names_queued, "name")
        ));
    }
    line(format!("  {}", format::io_path(status.io_path)));
    for file in &status.failing {
        line(format!("  failing: {}: {}", file.path, file.why));
    }
    text
}

fn connection(status: &MountStatus) -> String {
    let server = &status.server;
    match &status.connection {
        Connection::Starting => format!("connecting to {server}"),
        Connection::Online => format!("online, {server}"),
        Connection::Offline { why, retry_s } => {
            format!("offline, {server}: {why}; next try in {retry_s} s")
        }
        Connection::LoginNeeded => {
            format!("login needed at {server}: run `heirloom login`, then mount again")
        }
    }
}
