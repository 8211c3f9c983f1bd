//! `heirloom verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::ask::{block_on, daemon_of};
use super::free::places;
use super::words;
use crate::control::{AskError, Asker, CopyHere, CopyThere, VerifiedFile, VerifyRequest, Witness};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Photos and folders in a mounted directory, or the directory itself; without any, all of the only mount
    paths: Vec<PathBuf>,
    /// Show every photo, not only those that something is wrong with
    #[arg(long)]
    all: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Sum {
    sound: u64,
    unsound: u64,
    not_backed_up: u64,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (mountpoint, paths) = places(&self.paths)?;
        let daemon = daemon_of(&mountpoint)?;
        let named = !paths.is_empty();
        let sum = block_on(self.look(&daemon, VerifyRequest { paths, after: None }, named))??;
        println!("{} verified", words::files(sum.sound));
        if sum.not_backed_up > 0 {
            println!("{} not backed up yet: see `heirloom status`", words::files(sum.not_backed_up));
        }
        if sum.unsound > 0 {
            println!("{} something is wrong with", words::files(sum.unsound));
        }
        Ok(if sum.unsound + sum.not_backed_up == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Tells of each page as it comes: reading everything again may take hours.
    async fn look(&self, daemon: &Asker, mut request: VerifyRequest, named: bool) -> Result<Sum, AskError> {
        let mut sum = Sum::default();
        loop {
            let answer = daemon.verify(&request).await?;
            sum.not_backed_up += answer.not_backed_up;
            for file in &answer.files {
                let sound = file.is_sound();
                if sound {
                    sum.sound += 1;
                } else {
                    sum.unsound += 1;
                }
                if !sound || named || self.all {
                    println!("{}", line(file));
                }
            }
            match answer.next {
                Some(next) => request.after = Some(next),
                None => return Ok(sum),
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
    format!("{verdict:<6} {receipt:<30} {server:<27} {here:<20} {}", file.path)
}
