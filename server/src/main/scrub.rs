//! `heirloom-server scrub`: what the running server does slowly, done now.
//!
//! It may run beside the server: both mark what is damaged in the index, and look at a file once
//! more before they move it aside.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use heirloom_server::blobs::LocalBlobs;
use heirloom_server::config::DataDir;
use heirloom_server::scrub::{ScrubReport, Scrubber};

use super::admin::{Book, Where};

#[derive(Debug, Args)]
pub(crate) struct ScrubCommand {
    /// How fast, in MB/s
    #[arg(long, value_name = "MB/S", default_value_t = 50)]
    rate: u32,
    #[command(flatten)]
    at: Where,
}

impl ScrubCommand {
    /// Answers what to print.
    pub(crate) async fn carry_out(self) -> anyhow::Result<String> {
        let book = Book::open(&self.at.data).await?;
        let blobs = LocalBlobs::open(&DataDir::open(&self.at.data)?)
            .await
            .context("open the stored images")?;
        let scrub = Scrubber::new(book.index.clone(), Arc::new(blobs), Arc::default());
        let round = scrub.scrub_all(u64::from(self.rate) * 1_000_000).await;
        book.close().await;
        Ok(report(&round?))
    }
}

fn report(round: &ScrubReport) -> String {
    let mut lines: Vec<_> = round
        .damaged
        .iter()
        .map(|image| format!("damaged: {image}"))
        .collect();
    if round.unread > 0 {
        lines.push(format!(
            "{} could not be read now: see the log",
            round.unread
        ));
    }
    let damaged = round.damaged.len();
    lines.push(format!(
        "read {} images, {} bytes; {damaged} are damaged and asked for again",
        round.images, round.bytes
    ));
    lines.join("\n")
}
