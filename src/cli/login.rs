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

/// Bytes of a line that is typed or piped in, at most: more than any password has.
const LINE_BYTES_MAX: u64 = 4096;

/// What a device is called whose machine has no name.
const NAMELESS: &str = "device";

/// Characters of a device's name, at most; see [`LoginRequest::device`].
const DEVICE_MAX: usize = 64;

#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// The server: its scheme, name and port, nothing behind it
    server: ServerUrl,
    /// The directory to mount with it; may be left out if only one was ever mounted
    mountpoint: Option<PathBuf>,
    /// Your name there; asked for if it is not given
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What to call this device there; without it, the machine's name
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Certificate authorities (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The state directory of the mount, if it is not the usual one
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Send the password over a network in the clear, where others can read it
    #[arg(long)]
    insecure_http: bool,
}

impl LoginArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.server.is_unencrypted() && !self.insecure_http {
            bail!(
                "{} is not encrypted: others could read your password; write https://, or accept it with --insecure-http",
                self.server
            );
        }
        let state = state_of(self.state.as_deref(), self.mountpoint.as_deref())?;
        let ca_file = self.ca_file.as_ref().map(std::path::absolute).transpose()?;
        let request = self.ask()?;
        let token = block_on(remote::log_in(&self.server, ca_file.as_deref(), &request))?
            .with_context(|| format!("cannot log in to {}", self.server))?;
        state.save_login(&config::Login {
            server: self.server.clone(),
            token,
            ca_file,
        })?;
        println!(
            "logged in to {} as {}; a mount that runs uses it from its next start on",
            self.server, request.user
        );
        Ok(ExitCode::SUCCESS)
    }

    /// From a terminal with a prompt, and the password without echo; otherwise line by line.
    fn ask(&self) -> anyhow::Result<LoginRequest> {
        let typed = io::stdin().is_terminal();
        let user = match &self.user {
            Some(user) => user.clone(),
            None if typed => {
                eprint!("User at {}: ", self.server);
                io::stderr().flush().context("ask for the user")?;
                line(&mut io::stdin().lock())?
            }
            None => line(&mut io::stdin().lock())?,
        };
        let password = if typed {
            rpassword::prompt_password(format!("Password of {user}: "))
                .context("ask for the password")?
        } else {
            line(&mut io::stdin().lock())?
        };
        let device = self.device.clone().unwrap_or_else(machine_name);
        Ok(LoginRequest {
            user,
            password,
            device,
        })
    }
}

/// The state directory that was named, or that of the mountpoint, or that of the only mount.
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
            mounts => bail!(
                "name the directory that is mounted with it: {} are known here",
                mounts.len()
            ),
        },
    };
    Ok(StateDir::open(&root)?)
}

fn line(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    from.take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .context("read standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The machine's name, as far as it can name a device.
fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(DEVICE_MAX)
        .collect();
    if name.is_empty() {
        NAMELESS.to_owned()
    } else {
        name
    }
}
