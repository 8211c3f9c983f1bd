//! `heirloom push`: uploads files without a mount.
//!
//! It keeps no journal: an interrupted upload resumes from the server's interruption list alone.

mod job;
mod collect;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::with_server;
use super::format;
use super::server_args::ServerArgs;
use crate::config::Accept;
use job::PushJob;

/// The template of the progress bar, which is only shown on a terminal.
const BAR: &str =
    "{wide_bar} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";

/// Back up files without a mount
#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// Files, and folders with everything in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    access: ServerArgs,
    /// Which files to back up; the others are skipped
    #[arg(long, value_enum, default_value_t)]
    accept: Accept,
}

impl PushArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let server = self.access.server(None)?;
        let found = collect::collect(&self.paths, self.accept)?;
        let bar = ProgressBar::new(found.bytes);
        bar.set_style(ProgressStyle::with_template(BAR).context("cannot show the progress bar")?);
        let outcome = with_server(server, async |login| {
            PushJob::new(login, bar.clone())?.run(found.photos).await
        })?;
        bar.finish_and_clear();

        for (path, why) in &found.skipped {
            eprintln!("skipped: {}: {why}", path.display());
        }
        for (path, why) in &outcome.failed {
            eprintln!("not backed up: {}: {why}", path.display());
        }
        println!(
            "backed up {} ({} uploaded, {} already backed up, {} by instant upload)",
            format::files(outcome.uploaded + outcome.already + outcome.linked),
            outcome.uploaded,
            outcome.already,
            outcome.linked,
        );
        Ok(if outcome.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
