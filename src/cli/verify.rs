//! `heirloom verify`

mod listing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use heirloom_protocol::LibraryPath;

use super::client::{block_on, daemon_of, library_paths};
use super::format;
use crate::control::{
    ControlClient, KeyChoice, KeyComparison, LocalCopy, ReceiptCheck, ServerCopy, VERIFY_FILES_MAX,
    VerifiedFile, VerifyRequest, VerifyResponse,
};
use listing::FileLister;

/// What to do when the server shows another receipt key.
const KEY_CHANGED: &str = "the server's receipt key has changed. If its administrator confirms \
    that receipt.key was lost or replaced, run `heirloom verify --trust-new-key`; otherwise \
    someone may be impersonating the server. Receipts were checked with the first key";

/// Ask the server to re-read its copies, and compare them with receipts and local files
///
/// Reads every photo on the server and on this disk, so it may take hours for a large library.
/// Exits with code 1 if there is a problem, or if a photo is not backed up yet.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Photos and folders in a mounted directory, or the directory itself [default: the only mount]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Show every photo, not only those with problems
    #[arg(long)]
    all: bool,
    /// Trust the server's current receipt key from now on. Use this only after the server's
    /// administrator has confirmed that the key was replaced
    #[arg(long)]
    trust_new_key: bool,
}

/// The results so far.
#[derive(Debug, Default)]
struct VerifyTotals {
    sound: u64,
    unsound: u64,
    not_backed_up: u64,
    key: Option<KeyComparison>,
}

impl VerifyArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = library_paths(&self.paths)?;
        let daemon = daemon_of(&mountpoint)?;
        let totals = block_on(self.verify(&daemon, &mountpoint, paths))??;
        println!("{} verified", format::files(totals.sound));
        if totals.not_backed_up > 0 {
            println!(
                "{} not backed up yet; see `heirloom status`",
                format::files(totals.not_backed_up)
            );
        }
        if totals.unsound > 0 {
            println!("{} with problems", format::files(totals.unsound));
        }
        let key_changed = totals.key == Some(KeyComparison::Changed);
        if key_changed {
            eprintln!("{KEY_CHANGED}");
        }
        let all_is_well = totals.unsound + totals.not_backed_up == 0 && !key_changed;
        Ok(if all_is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Verifies page by page and prints each page at once, since reading everything may take hours.
    async fn verify(
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
        let mut totals = VerifyTotals::default();
        if paths.is_empty() {
            loop {
                let response = daemon.verify(&request).await?;
                print_files(&response, self.all);
                totals.add(&response);
                match response.next {
                    Some(next) => request.after = Some(next),
                    None => return Ok(totals),
                }
            }
        }
        let mut lister =
            FileLister::new(mountpoint, paths).context("cannot find the named files")?;
        while let Some(page) = lister
            .next_page(VERIFY_FILES_MAX)
            .context("cannot list the named files")?
        {
            request.paths = page;
            let response = daemon.verify(&request).await?;
            // Of named files, a person wants to see each one.
            print_files(&response, true);
            totals.add(&response);
        }
        Ok(totals)
    }
}

impl VerifyTotals {
    fn add(&mut self, response: &VerifyResponse) {
        let sound = response.files.iter().filter(|file| file.is_sound()).count() as u64;
        self.sound += sound;
        self.unsound += response.files.len() as u64 - sound;
        self.not_backed_up += response.not_backed_up;
        self.key = Some(response.key);
    }
}

/// Prints one line for each file, or only for files with problems.
fn print_files(response: &VerifyResponse, all: bool) {
    for file in response.files.iter().filter(|file| all || !file.is_sound()) {
        println!("{}", line(file));
    }
}

fn line(file: &VerifiedFile) -> String {
    let receipt = match file.receipt {
        ReceiptCheck::Signed => "receipt signed",
        ReceiptCheck::Unsigned => "receipt newly signed",
        ReceiptCheck::Foreign => "receipt signed by another key",
        ReceiptCheck::Missing => "no receipt",
    };
    let server = match file.server {
        ServerCopy::Sound => "server: sound",
        ServerCopy::Missing => "server: missing or damaged",
    };
    let local = match file.here {
        LocalCopy::Same => "local: identical",
        LocalCopy::Differs => "local: damaged",
        LocalCopy::Changed => "local: changed since",
        LocalCopy::Placeholder => "local: placeholder",
        LocalCopy::Unreadable => "local: unreadable",
    };
    let verdict = if file.is_sound() { "ok" } else { "BAD" };
    format!(
        "{verdict:<6} {receipt:<30} {server:<27} {local:<20} {}",
        file.path
    )
}
