//! `heirloom status`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::client::{absolute, block_on, daemon_of};
use super::format;
use crate::config::Mounts;
use crate::control::{ControlError, MountStatus};
use crate::uploader::Connection;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The mounted directory; all of them if none is named
    mountpoint: Option<PathBuf>,
    /// As JSON, for programs; units are in the names
    #[arg(long)]
    json: bool,
}

/// What is known of one mountpoint.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Report {
    /// A daemon answers for it.
    Mounted(Box<MountStatus>),
    /// It was mounted once; no daemon runs.
    NotMounted { mountpoint: PathBuf, mounted: bool },
}

impl StatusArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some(mountpoint) = &self.mountpoint else {
            let mounts = Mounts::open()?.all()?;
            let reports = mounts
                .iter()
                .map(|mount| ask(&mount.mountpoint))
                .collect::<anyhow::Result<Vec<_>>>()?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&reports)?);
            } else if reports.is_empty() {
                println!("nothing is mounted; `heirloom mount DIRECTORY` mounts a directory");
            } else {
                let tables: Vec<_> = reports.iter().map(table).collect();
                print!("{}", tables.join("\n"));
            }
            return Ok(ExitCode::SUCCESS);
        };
        let report = ask(&absolute(mountpoint)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", table(&report));
        }
        Ok(match report {
            Report::Mounted(_) => ExitCode::SUCCESS,
            Report::NotMounted { .. } => ExitCode::FAILURE,
        })
    }
}

fn ask(mountpoint: &Path) -> anyhow::Result<Report> {
    match block_on(daemon_of(mountpoint)?.status())? {
        Ok(answer) => Ok(Report::Mounted(Box::new(answer))),
        Err(ControlError::NotRunning(_)) => Ok(Report::NotMounted {
            mountpoint: mountpoint.to_owned(),
            mounted: false,
        }),
        Err(error) => Err(error.into()),
    }
}

fn table(report: &Report) -> String {
    match report {
        Report::NotMounted { mountpoint, .. } => {
            format!(
                "{0}: not mounted; `heirloom mount {0}` mounts it\n",
                mountpoint.display()
            )
        }
        Report::Mounted(answer) => lines(answer),
    }
}

fn lines(answer: &MountStatus) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every line");
    line(format!(
        "{}  ({})",
        answer.mountpoint.display(),
        connection(answer)
    ));
    let files = &answer.files;
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
            format::bytes(amount.bytes)
        ));
    }
    if answer.comparing {
        line("  still looking through the tree: the counts are not complete".to_owned());
    }
    let saved = answer.saved;
    line(format!(
        "  sent {} at {}/s, {} a shard, {}",
        format::bytes(answer.sent_bytes),
        format::bytes(answer.rate_bytes_per_second),
        format::bytes(answer.shard_bytes),
        answer.link
    ));
    line(format!(
        "  saved {} by the sync list, {} by the check, {} by instant upload",
        format::bytes(saved.sync_list_bytes),
        format::bytes(saved.check_bytes),
        format::bytes(saved.instant_upload_bytes)
    ));
    if answer.library.arriving {
        line(format!(
            "  still showing the library: {} so far",
            format::files(answer.library.arrived)
        ));
    }
    if answer.library.conflicts > 0 {
        let shown = format::files(answer.library.conflicts);
        line(format!(
            "  {shown} of other devices shown as \"... (from another device)\", for their names are taken"
        ));
    }
    if answer.fetch.fetching > 0 {
        line(format!(
            "  fetching {}",
            format::files(answer.fetch.fetching)
        ));
    }
    let pinned = answer.fetch.pinned_left;
    if pinned.files > 0 {
        line(format!(
            "  still to fetch of what is pinned: {}, {}",
            format::files(pinned.files),
            format::bytes(pinned.bytes)
        ));
    }
    if answer.names_queued > 0 {
        line(format!(
            "  {} names to tell the server",
            answer.names_queued
        ));
    }
    line(format!(
        "  files are read and written {}",
        format::io_path(answer.io_path)
    ));
    for file in &answer.failing {
        line(format!("  failing: {}: {}", file.path, file.why));
    }
    text
}

fn connection(answer: &MountStatus) -> String {
    match &answer.connection {
        Connection::Starting => format!("asking {}", answer.server),
        Connection::Online => format!("online, {}", answer.server),
        Connection::Offline { why, retry_s } => {
            format!("offline, {}: {why}; next try in {retry_s} s", answer.server)
        }
        Connection::LoginNeeded => format!("login needed at {}", answer.server),
    }
}
