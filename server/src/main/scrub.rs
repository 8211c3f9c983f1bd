//! `heirloom-server scrub`: verifies all stored images now.
//!
//! It may run while the server runs. Both mark damaged images in the index, and both read a file
//! once more before they move it to quarantine.

use std::sync::Arc;

use clap::Args;
use heirloom_server::scrub::{ScrubReport, Scrubber};

use super::context::{AdminContext, DataDirArgument};

/// Verifies all stored images.
#[derive(Debug, Args)]
pub(crate) struct ScrubCommand {
    /// Maximum read rate in MB/s
    #[arg(long, value_name = "MB/S", default_value_t = 50)]
    rate: u32,
    #[command(flatten)]
    data: DataDirArgument,
}

impl ScrubCommand {
    /// Runs the command and returns the text to print.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let context = AdminContext::open(&self.data.path).await?;
        let blobs = context.blobs().await?;
        let scrubber = Scrubber::new(context.index.clone(), blobs, Arc::default());
        let report = scrubber.scrub_all(u64::from(self.rate) * 1_000_000).await;
        context.close().await;
        Ok(describe(&report?))
    }
}

fn describe(report: &ScrubReport) -> String {
    let mut lines: Vec<_> = report
        .corrupt
        .iter()
        .map(|image| format!("damaged: {image}"))
        .collect();
    if report.unreadable > 0 {
        lines.push(format!(
            "could not read {} images; see the log",
            report.unreadable
        ));
    }
    let damaged = report.corrupt.len();
    lines.push(format!(
        "verified {} images, {} bytes: {damaged} damaged",
        report.images, report.bytes
    ));
    if damaged > 0 {
        lines.push("the next client that has a damaged photo uploads it again".to_owned());
    }
    lines.join("\n")
}
