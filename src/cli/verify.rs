//! `heirloom verify`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use heirloom_protocol::LibraryPath;

use super::ask::{block_on, daemon_of};
use super::free::places;
use super::words;
use crate::control::{
    Asker, CopyHere, CopyThere, KeyChoice, KeyStanding, VERIFIED_AT_ONCE, VerifiedFile,
    VerifyAnswer, VerifyRequest, Witness,
};

mod named;

use named::Named;

/// What to do about a server whose key is another one.
const KEY_CHANGED: &str = "the server does not sign receipts with the key that this mount met first. If its administrator says that its \
    receipt.key was lost or renewed, `heirloom verify --trust-new-key` takes the new one; if not, ask who answers in its place. Receipts are \
    held against the first key";

#[derive(Debug, Args)]
pub(super) struct Verify {
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
struct Sum {
    sound: u64,
    unsound: u64,
    not_backed_up: u64,
    /// What was named is told of one by one; of a whole mount only what is wrong.
    asked: Asked,
    key: Option<KeyStanding>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    All,
    Named,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = places(&self.paths)?;
        let daemon = daemon_of(&mountpoint)?;
        let sum = block_on(self.look(&daemon, &mountpoint, paths))??;
        println!("{} verified", words::files(sum.sound));
        if sum.not_backed_up > 0 {
            println!(
                "{} not backed up yet: see `heirloom status`",
                words::files(sum.not_backed_up)
            );
        }
        if sum.unsound > 0 {
            println!("{} something is wrong with", words::files(sum.unsound));
        }
        let is_changed = sum.key == Some(KeyStanding::Changed);
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
        daemon: &Asker,
        mountpoint: &Path,
        paths: Vec<LibraryPath>,
    ) -> anyhow::Result<Sum> {
        let key = if self.trust_new_key {
            KeyChoice::Shown
        } else {
            KeyChoice::Met
        };
        let mut request = VerifyRequest {
            paths: Vec::new(),
            after: None,
            key,
        };
        let mut sum = Sum::default();
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
        sum.asked = Asked::Named;
        let mut named = Named::new(mountpoint, paths).context("cannot find what was named")?;
        while let Some(page) = named
            .take(VERIFIED_AT_ONCE)
            .context("cannot look through what was named")?
        {
            request.paths = page;
            self.tell(&daemon.verify(&request).await?, &mut sum);
        }
        Ok(sum)
    }

    fn tell(&self, answer: &VerifyAnswer, sum: &mut Sum) {
        sum.not_backed_up += answer.not_backed_up;
        sum.key = Some(answer.key);
        for file in &answer.files {
            let sound = file.is_sound();
            if sound {
                sum.sound += 1;
            } else {
                sum.unsound += 1;
            }
            if !sound || sum.asked == Asked::Named || self.all {
                println!("{}", line(file));
            }
        }
    }
}

fn line(file: &VerifiedFile) -> String {
    let receipt = match file.receipt {
        Witness::Signed => "receipt signed",
        Witness::Unsigned => "receipt unsigned until now",
        Witness::Foreign => "receipt signed by another key",
        Witness::Missing => "no receipt",
    };
    let server = match file.server {
        CopyThere::Sound => "server: sound",
        CopyThere::Missing => "server: missing or damaged",
    };
    let here = match file.here {
        CopyHere::Same => "here: the same",
        CopyHere::Differs => "here: other bytes",
        CopyHere::Changed => "here: being changed",
        CopyHere::Placeholder => "here: a placeholder",
        CopyHere::Unreadable => "here: unreadable",
    };
    let verdict = if file.is_sound() { "ok" } else { "WRONG" };
    format!(
        "{verdict:<6} {receipt:<30} {server:<27} {here:<20} {}",
        file.path
    )
}
