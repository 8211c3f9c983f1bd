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

/// A log larger than this is rotated at the next start, in bytes; one older log is kept.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// The log filter, unless `HEIRLOOM_LOG` sets another one.
const DEFAULT_LOG_FILTER: &str = "info";

/// Mount a directory; every photo that lands in it is backed up
///
/// Mounts in the background and returns. The server, its token and the state directory are
/// remembered; pass all other options again at the next mount. After a reboot, mount again.
#[derive(Debug, Args)]
pub(super) struct MountArgs {
    /// The directory to mount; must exist and be empty
    mountpoint: PathBuf,
    /// Back up to this server [default: the saved login, else an embedded server on this disk]
    #[arg(long, value_name = "URL")]
    server: Option<ServerUrl>,
    /// Read the token for the server from the first line of this file
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
    /// Keep local files, journal and log in this directory [default: where they were last time]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Which files to back up; the others stay on this disk only
    #[arg(long, value_enum, default_value_t)]
    accept: Accept,
    /// How reads and writes reach the disk; `heirloom status` shows which way is in use
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    io: IoMode,
    /// Maximum size of the local cache: 20G, 500MiB or 50% of the disk. Beyond it, the least
    /// recently used photos are freed, once backed up
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<SizeOrPercent>,
    /// Minimum free space on the disk, as a size or percentage. Below it, the least recently used
    /// photos are freed, once backed up
    #[arg(long, value_name = "SIZE")]
    keep_free: Option<SizeOrPercent>,
    /// Reading a photo that is only on the server fails after this many seconds without progress
    #[arg(long, value_name = "SECONDS", default_value_t = READ_TIMEOUT.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    read_timeout: u64,
    /// Stay in the foreground and log to standard error
    #[arg(long)]
    foreground: bool,
    /// Set for the background process, which this program starts.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    detached: bool,
}

impl MountArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.foreground || self.detached {
            return self.serve();
        }
        let mountpoint = absolute(&self.mountpoint)?;
        let state = self.state_dir(&mountpoint)?;
        // Checked and saved here, so that a wrong argument is reported at once and the background
        // process needs no token.
        self.server_choice(&state)?;
        daemon::detach(
            &self.background_arguments(&mountpoint, state.root()),
            open_log(&state.log())?,
        )?;
        println!(
            "mounted {}: copy photos into it; `heirloom status {0}` shows the progress",
            mountpoint.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Mounts, and serves the mount until it is unmounted.
    fn serve(self) -> anyhow::Result<ExitCode> {
        let log = tracing_subscriber::fmt()
            .with_env_filter(
                EnvFilter::try_from_env("HEIRLOOM_LOG")
                    .unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG_FILTER)),
            )
            .with_writer(io::stderr)
            // They would go to standard error, and a failing write there is a panic.
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
            Ok(services) if self.detached => {
                // The daemon must outlive the terminal that started it.
                rustix::process::setsid().context("cannot detach from the terminal")?;
                daemon::report_ready()?;
                services.run();
            }
            Ok(services) => services.run(),
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

    /// The server of the arguments, which is saved; else the saved one; else the embedded server.
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
            (None, _) => {
                bail!("{server} needs a token; pass --token-file FILE, or run `heirloom login`")
            }
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

    /// The arguments of the background process. The login is saved by now.
    fn background_arguments(&self, mountpoint: &Path, state: &Path) -> Vec<OsString> {
        let accept = clap::ValueEnum::to_possible_value(&self.accept)
            .expect("no value of --accept is hidden");
        let mut arguments: Vec<OsString> = vec![
            "mount".into(),
            mountpoint.into(),
            "--state".into(),
            state.into(),
        ];
        let io = clap::ValueEnum::to_possible_value(&self.io).expect("no value of --io is hidden");
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
    opened().with_context(|| format!("cannot open the log {}", path.display()))
}
