//! `heirloom push`: backing up by hand, without a mount (M1).
//!
//! No journal is kept: the server's interruption list alone is enough to go on from (M6).

mod errand;
mod gather;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::ask::block_on;
use super::words;
use crate::config::{Accept, Login, Mounts, ServerUrl, StateDir, Token, data_home};
use errand::Errand;

/// How the progress bar looks. Not shown where standard error is no terminal.
const BAR: &str = "{wide_bar} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";

#[derive(Debug, Args)]
pub(super) struct Push {
    /// Files, and folders with everything in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The server; without it, the one that the only known mount uses
    #[arg(long, value_name = "URL", requires = "token_file")]
    server: Option<ServerUrl>,
    /// A file whose first line is the token for the server
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
    /// Which files are backed up; the others are left out
    #[arg(long, value_enum, default_value_t)]
    accept: Accept,
}

impl Push {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let login = self.login()?;
        let found = gather::gather(&self.paths, self.accept)?;
        let bar = ProgressBar::new(found.bytes);
        bar.set_style(ProgressStyle::with_template(BAR).context("the bar's template")?);
        let outcome = block_on(Errand::new(&login, bar.clone())?.run(found.photos))??;
        bar.finish_and_clear();

        for (path, why) in &found.left_out {
            eprintln!("left out: {}: {why}", path.display());
        }
        for (path, why) in &outcome.failed {
            eprintln!("not backed up: {}: {why}", path.display());
        }
        println!(
            "backed up {} ({} sent, {} there already, {} by instant upload)",
            words::files(outcome.sent + outcome.already + outcome.linked),
            outcome.sent,
            outcome.already,
            outcome.linked,
        );
        Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn login(&self) -> anyhow::Result<Login> {
        if let (Some(server), Some(file)) = (self.server.clone(), &self.token_file) {
            let ca_file = self.ca_file.as_ref().map(std::path::absolute).transpose()?;
            return Ok(Login { server, token: Token::read(file)?, ca_file });
        }
        let mounts = Mounts::open()?.all()?;
        let [mount] = mounts.as_slice() else {
            bail!("name a server with --server URL --token-file FILE: {} mounts are known here", mounts.len());
        };
        let saved = match StateDir::open(&mount.state)?.saved_login()? {
            Some(login) => Some(login),
            // The embedded server's: good while the mount it belongs to is up.
            None => StateDir::open(&data_home()?.join("client"))?.saved_login()?,
        };
        saved.context("no login is saved; name a server with --server URL --token-file FILE")
    }
}
