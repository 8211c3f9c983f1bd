//! `heirloom mount`

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::client::absolute;
use crate::config::{Accept, Login, Mounts, ServerUrl, StateDir, Token, server_data_dir};
use crate::daemon::{self, MountConfig, ServerChoice, Services};
use crate::fetch::{CachePolicy, FetchOptions, READ_TIMEOUT, SizeOrPercent};
use crate::mount::IoMode;

/// A log above this is set aside at the next start, in bytes; one older log is kept.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// What is logged unless `HEIRLOOM_LOG` says otherwise.
const LOG_FILTER: &str = "info";

#[derive(Debug, Args)]
pub(super) struct MountArgs {
    /// The directory to mount: it must exist and be empty
    mountpoint: PathBuf,
    /// The server that keeps the photos; without it and without a saved login, one is started in
    /// this process
    #[arg(long, value_name = "URL")]
    server: Option<ServerUrl>,
    /// A file whose first line is the token for the server
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Certificate authorities (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
    /// Where spool, journal and log are kept; without it, where they were the last time
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Which files are backed up; the others stay in the mount
    #[arg(long, value_enum, default_value_t)]
    accept: Accept,
    /// How reads and writes of open files reach the disk; `heirloom status` says which way it is
    #[arg(long, value_enum, value_name = "WAY", default_value_t)]
    io: IoMode,
    /// The most that photos with their bytes here may take together: 20G, 500M, 50%. Of more, those
    /// not used for longest are left to the server, as far as it has them
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<SizeOrPercent>,
    /// The least that is to stay free on the disk, in the same way
    #[arg(long, value_name = "SIZE")]
    keep_free: Option<SizeOrPercent>,
    /// How long a program that reads what is only on the server waits while nothing comes
    #[arg(long, value_name = "SECONDS", default_value_t = READ_TIMEOUT.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    read_timeout: u64,
    /// Stay in the foreground and log to standard error
    #[arg(long)]
    foreground: bool,
    /// Set by the program itself when it goes into the background.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    detached: bool,
}

impl MountArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.foreground || self.detached {
            return self.stay();
        }
        let mountpoint = absolute(&self.mountpoint)?;
        let state = self.state_dir(&mountpoint)?;
        // Settled here and saved, so that a wrong argument is told at once and the background needs
        // no arguments twice.
        let choice = self.server_choice(&state)?;
        drop(choice);
        daemon::detach(
            &self.again(&mountpoint, state.root()),
            open_log(&state.log())?,
        )?;
        println!(
            "mounted {}: copy photos into it; `heirloom status {0}` tells how far they are",
            mountpoint.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Mounts and stays until the mount is gone.
    fn stay(self) -> anyhow::Result<ExitCode> {
        let log = tracing_subscriber::fmt()
            .with_env_filter(
                EnvFilter::try_from_env("HEIRLOOM_LOG")
                    .unwrap_or_else(|_| EnvFilter::new(LOG_FILTER)),
            )
            .with_writer(io::stderr)
            // It would be said on stderr, which cannot be written: a panic.
            .log_internal_errors(false);
        if self.detached {
            log.with_ansi(false).init();
        } else {
            log.init();
        }
        let started = self
            .config()
            .and_then(|config| Ok(Services::start(config)?));
        match started {
            Ok(house) if self.detached => {
                // The terminal that started us may close; we go on.
                rustix::process::setsid().context("cannot leave the terminal")?;
                daemon::report_ready()?;
                house.run();
            }
            Ok(house) => house.run(),
            Err(error) => {
                if self.detached {
                    daemon::report_failure(&format!("{error:#}"))?;
                }
                return Err(error);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn config(&self) -> anyhow::Result<MountConfig> {
        let mountpoint = absolute(&self.mountpoint)?;
        let state = self.state_dir(&mountpoint)?;
        let server = self.server_choice(&state)?;
        let fetch = FetchOptions {
            read_timeout: Duration::from_secs(self.read_timeout),
            ..FetchOptions::default()
        };
        let cache = CachePolicy {
            cache_max: self.cache_size,
            free_min: self.keep_free,
        };
        Ok(MountConfig {
            mountpoint,
            state_dir: state,
            server,
            accept: self.accept,
            io: self.io,
            fetch,
            cache,
        })
    }

    fn state_dir(&self, mountpoint: &Path) -> anyhow::Result<StateDir> {
        let root = match (&self.state, Mounts::open()?.find(mountpoint)?) {
            (Some(state), _) => std::path::absolute(state)?,
            (None, Some(before)) => before,
            (None, None) => StateDir::default_for(mountpoint)?,
        };
        Ok(StateDir::open(&root)?)
    }

    /// What was typed, else what was saved, else the embedded server. What was typed is saved.
    fn server_choice(&self, state: &StateDir) -> anyhow::Result<ServerChoice> {
        let saved = state.saved_login()?;
        let Some(server) = self.server.clone() else {
            return Ok(match saved {
                Some(login) => ServerChoice::Remote(login),
                None => ServerChoice::Embedded(server_data_dir()?),
            });
        };
        let token = match (&self.token_file, saved) {
            (Some(file), _) => Token::read(file)?,
            (None, Some(login)) if login.server == server => login.token,
            (None, _) => bail!("{server} needs a token; give it with --token-file FILE"),
        };
        let ca_file = self.ca_file.as_ref().map(std::path::absolute).transpose()?;
        let login = Login {
            server,
            token,
            ca_file,
        };
        state.save_login(&login)?;
        Ok(ServerChoice::Remote(login))
    }

    /// The same command for the background process; the login is saved by now.
    fn again(&self, mountpoint: &Path, state: &Path) -> Vec<OsString> {
        let accept = clap::ValueEnum::to_possible_value(&self.accept)
            .expect("no way of accepting is hidden");
        let mut arguments: Vec<OsString> = vec![
            "mount".into(),
            mountpoint.into(),
            "--state".into(),
            state.into(),
        ];
        let io = clap::ValueEnum::to_possible_value(&self.io).expect("no way is hidden");
        arguments.extend(
            [
                "--accept",
                accept.get_name(),
                "--io",
                io.get_name(),
                "--detached",
            ]
            .map(OsString::from),
        );
        arguments.extend([
            "--read-timeout".into(),
            self.read_timeout.to_string().into(),
        ]);
        for (option, share) in [
            ("--cache-size", self.cache_size),
            ("--keep-free", self.keep_free),
        ] {
            arguments.extend(
                share
                    .into_iter()
                    .flat_map(|share| [option.into(), share.to_string().into()]),
            );
        }
        arguments
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let opened = || {
        if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            fs::rename(path, path.with_extension("log.1"))?;
        }
        File::options().create(true).append(true).open(path)
    };
    opened().with_context(|| format!("cannot write the log {}", path.display()))
}
