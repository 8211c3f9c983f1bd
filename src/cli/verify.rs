//! `heirloom verify`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use heirloom_protocol::LibraryPath;

use super::client::{block_on, daemon_of};
use super::format;
use super::free::places;
use crate::control::{
    ControlClient, KeyChoice, KeyComparison, LocalCopy, ReceiptCheck, ServerCopy, VERIFY_FILES_MAX,
    VerifiedFile, VerifyRequest, VerifyResponse,
};

mod listing;

use listing::FileLister;

/// What to do about a server whose key is another one.
const KEY_CHANGED: &str = "the server does not sign receipts with the key that this mount known_keys first. If its administrator says that its \
    receipt.key was lost or renewed, `heirloom verify --trust-new-key` takes the new one; if not, ask who answers in its place. Receipts are \
    held against the first key";

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Photos and folders in a mounted directory, or the directory itself; without any, all of the
    /// only mount
    paths: Vec<PathBuf>,
    /// Show every photo, not only those that something is wrong with
    #[arg(long)]
    all: bool,
    /// Hold receipts against the key that the server shows now, and from now on: after its
    /// administrator has said that it is a new one
    #[arg(long)]
    trust_new_key: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct VerifyTotals {
    sound: u64,
    unsound: u64,
    not_backed_up: u64,
    /// What was listing is told of one by one; of a whole mount only what is wrong.
    asked: VerifyScope,
    key: Option<KeyComparison>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum VerifyScope {
    #[default]
    All,
    FileLister,
}

impl VerifyArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = places(&self.paths)?;
        let daemon = daemon_of(&mountpoint)?;
        let sum = block_on(self.look(&daemon, &mountpoint, paths))??;
        println!("{} verified", format::files(sum.sound));
        if sum.not_backed_up > 0 {
            println!(
                "{} not backed up yet: see `heirloom status`",
                format::files(sum.not_backed_up)
            );
        }
        if sum.unsound > 0 {
            println!("{} something is wrong with", format::files(sum.unsound));
        }
        let is_changed = sum.key == Some(KeyComparison::Changed);
        if is_changed {
            eprintln!("{KEY_CHANGED}");
        }
        let all_is_well = sum.unsound + sum.not_backed_up == 0 && !is_changed;
        Ok(if all_is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Tells of each page as it comes: reading everything again may take hours.
    async fn look(
        &self,
        daemon: &ControlClient,
        mountpoint: &Path,
        paths: Vec<LibraryPath>,
    ) -> anyhow::Result<VerifyTotals> {
        let key = if self.trust_new_key {
            KeyChoice::Shown
        } else {
            KeyChoice::Trusted
        };
        let mut request = VerifyRequest {
            paths: Vec::new(),
            after: None,
            key,
        };
        let mut sum = VerifyTotals::default();
        if paths.is_empty() {
            loop {
                let answer = daemon.verify(&request).await?;
                self.tell(&answer, &mut sum);
                match answer.next {
                    Some(next) => request.after = Some(next),
                    None => return Ok(sum),
                }
            }
        }
        sum.asked = VerifyScope::FileLister;
        let mut listing =
            FileLister::new(mountpoint, paths).context("cannot find what was listing")?;
        while let Some(page) = listing
            .take(VERIFY_FILES_MAX)
            .context("cannot look through what was listing")?
        {
            request.paths = page;
            self.tell(&daemon.verify(&request).await?, &mut sum);
        }
        Ok(sum)
    }

    fn tell(&self, answer: &VerifyResponse, sum: &mut VerifyTotals) {
        sum.not_backed_up += answer.not_backed_up;
        sum.key = Some(answer.key);
        for file in &answer.files {
            let sound = file.is_sound();
            if sound {
                sum.sound += 1;
            } else {
                sum.unsound += 1;
            }
            if !sound || sum.asked == VerifyScope::FileLister || self.all {
                println!("{}", line(file));
            }
        }
    }
}

fn line(file: &VerifiedFile) -> String {
    let receipt = match file.receipt {
        ReceiptCheck::Signed => "receipt signed",
        ReceiptCheck::Unsigned => "receipt unsigned until now",
        ReceiptCheck::Foreign => "receipt signed by another key",
        ReceiptCheck::Missing => "no receipt",
    };
    let server = match file.server {
        ServerCopy::Sound => "server: sound",
        ServerCopy::Missing => "server: missing or damaged",
    };
    let here = match file.here {
        LocalCopy::Same => "here: the same",
        LocalCopy::Differs => "here: other bytes",
        LocalCopy::Changed => "here: being changed",
        LocalCopy::Placeholder => "here: a placeholder",
        LocalCopy::Unreadable => "here: unreadable",
    };
    let verdict = if file.is_sound() { "ok" } else { "WRONG" };
    format!(
        "{verdict:<6} {receipt:<30} {server:<27} {here:<20} {}",
        file.path
    )
}
