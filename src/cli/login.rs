//! `heirloom login`

use std::fs;
use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use heirloom_protocol::message::LoginRequest;

use super::client::{absolute, block_on};
use crate::config::{self, Mounts, ServerUrl, StateDir};
use crate::remote;

/// Longest line read from standard input, in bytes: longer than any password.
const LINE_BYTES_MAX: u64 = 4096;

/// The device name if the machine has no host name.
const DEFAULT_DEVICE_NAME: &str = "device";

/// Longest device name, in characters; see [`LoginRequest::device`].
const DEVICE_NAME_MAX: usize = 64;

/// Log in to a server; later mounts use this login
///
/// Asks for the user name and password, or reads them from standard input, one line each. The
/// password is sent once and not stored; what is stored is a token for this device.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// The server, as https://HOST:PORT without a path
    #[arg(value_name = "URL")]
    server: ServerUrl,
    /// The directory to mount with the login [default: the only one ever mounted]
    mountpoint: Option<PathBuf>,
    /// Your user name on the server [default: ask for it]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The name of this device on the server [default: the host name]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The mount's state directory, if it is not the default one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Allow http:// to another computer: sends your password and photos unencrypted
    #[arg(long)]
    insecure_http: bool,
}

impl LoginArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.server.is_unencrypted() && !self.insecure_http {
            bail!(
                "{} is not encrypted, so others could read your password; use https://, or accept \
                 the risk with --insecure-http",
                self.server
            );
        }
        let state = state_of(self.state.as_deref(), self.mountpoint.as_deref())?;
        let ca_file = self.ca_file.as_ref().map(std::path::absolute).transpose()?;
        let request = self.credentials()?;
        let token = block_on(remote::log_in(&self.server, ca_file.as_deref(), &request))?
            .with_context(|| format!("cannot log in to {}", self.server))?;
        state.save_login(&config::Login {
            server: self.server.clone(),
            token,
            ca_file,
        })?;
        println!(
            "logged in to {} as {}; restart running mounts to use the new login",
            self.server, request.user
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Prompts on a terminal, without echo for the password; otherwise reads one line for each.
    fn credentials(&self) -> anyhow::Result<LoginRequest> {
        let interactive = io::stdin().is_terminal();
        let user = match &self.user {
            Some(user) => user.clone(),
            None if interactive => {
                eprint!("User name for {}: ", self.server);
                io::stderr()
                    .flush()
                    .context("cannot ask for the user name")?;
                read_line("user name")?
            }
            None => read_line("user name")?,
        };
        let password = if interactive {
            rpassword::prompt_password(format!("Password for {user}: "))
                .context("cannot ask for the password")?
        } else {
            read_line("password")?
        };
        let device = self.device.clone().unwrap_or_else(host_name);
        Ok(LoginRequest {
            user,
            password,
            device,
        })
    }
}

/// The state directory that is named; else that of the mountpoint, or of the only mount.
pub(super) fn state_of(
    state: Option<&Path>,
    mountpoint: Option<&Path>,
) -> anyhow::Result<StateDir> {
    let root = match (state, mountpoint) {
        (Some(state), _) => std::path::absolute(state)?,
        (None, Some(mountpoint)) => {
            let mountpoint = absolute(mountpoint)?;
            match Mounts::open()?.find(&mountpoint)? {
                Some(before) => before,
                None => StateDir::default_for(&mountpoint)?,
            }
        }
        (None, None) => match Mounts::open()?.all()?.as_slice() {
            [only] => only.state.clone(),
            [] => bail!("nothing has been mounted yet; name the directory that the login is for"),
            mounts => bail!(
                "there are {} mounts; name the directory that the login is for",
                mounts.len()
            ),
        },
    };
    Ok(StateDir::open(&root)?)
}

/// Reads one line of standard input; `content` names it in errors.
fn read_line(content: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .with_context(|| format!("cannot read the {content} from standard input"))?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        bail!("no {content} given; type it, or write it to standard input");
    }
    Ok(line.to_owned())
}

/// The machine's host name, shortened to a valid device name.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(DEVICE_NAME_MAX)
        .collect();
    if name.is_empty() {
        DEFAULT_DEVICE_NAME.to_owned()
    } else {
        name
    }
}
