//! `heirloom push`: backing up by hand, without a mount (M1).
//!
//! No journal is kept: the server's interruption list alone is enough to go on from (M6).

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

/// How the progress bar looks. Not shown where standard error is no terminal.
const BAR: &str =
    "{wide_bar} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";

#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// Files, and folders with everything in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    access: ServerArgs,
    /// Which files are backed up; the others are left out
    #[arg(long, value_enum, default_value_t)]
    accept: Accept,
}

impl PushArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let server = self.access.server(None)?;
        let found = collect::collect(&self.paths, self.accept)?;
        let bar = ProgressBar::new(found.bytes);
        bar.set_style(ProgressStyle::with_template(BAR).context("the bar's template")?);
        let outcome = with_server(server, async |login| {
            PushJob::new(login, bar.clone())?.run(found.photos).await
        })?;
        bar.finish_and_clear();

        for (path, why) in &found.left_out {
            eprintln!("left out: {}: {why}", path.display());
        }
        for (path, why) in &outcome.failed {
            eprintln!("not backed up: {}: {why}", path.display());
        }
        println!(
            "backed up {} ({} sent, {} there already, {} by instant upload)",
            format::files(outcome.sent + outcome.already + outcome.linked),
            outcome.sent,
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
