//! `heirloom-server user`: user accounts.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::Subcommand;
use heirloom_server::index::{UserEntry, UserState};

use super::context::{AdminContext, DataDirArgument};
use super::quota::Quota;

/// Maximum length of the line that contains the password, in bytes; no password is that long.
const LINE_BYTES_MAX: u64 = 4096;

/// Manages user accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user and print an access token; it is shown only once
    Add {
        /// Name of the new user
        name: String,
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// List users: name, state, number of devices, bytes stored and quota
    List {
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// Set the password a user needs for `heirloom login`
    ///
    /// Asks for the password, or reads the first line of standard input if that is not a terminal.
    Passwd {
        /// Name of the user
        name: String,
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// Set how many bytes a user may store
    ///
    /// Photos that are already stored are kept, even if they exceed the quota.
    Quota {
        /// Name of the user
        name: String,
        /// Size such as 500MB, 20GiB or 2T, or `none` for no limit
        quota: Quota,
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// Block a user from logging in and from all requests; their photos are kept
    Disable {
        /// Name of the user
        name: String,
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// Unblock a disabled user; their devices work again
    Enable {
        /// Name of the user
        name: String,
        #[command(flatten)]
        data: DataDirArgument,
    },
}

impl UserCommand {
    /// Runs the command and returns the text to print. For a new user that is the token alone, so
    /// that a script can use the whole output.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let (Self::Add { data, .. }
        | Self::List { data }
        | Self::Passwd { data, .. }
        | Self::Quota { data, .. }
        | Self::Disable { data, .. }
        | Self::Enable { data, .. }) = &self;
        let context = AdminContext::open(&data.path).await?;
        let output = self.run_in(&context).await;
        context.close().await;
        output
    }

    async fn run_in(&self, context: &AdminContext) -> anyhow::Result<String> {
        let accounts = &context.accounts;
        match self {
            Self::Add { name, .. } => return Ok(accounts.add_user(name).await?),
            Self::List { .. } => {
                let users = accounts.users().await?;
                let lines: Vec<_> = users.iter().map(describe).collect();
                return Ok(lines.join("\n"));
            }
            Self::Passwd { name, .. } => accounts.set_password(name, read_password()?).await?,
            Self::Quota { name, quota, .. } => accounts.set_quota(name, quota.bytes()).await?,
            Self::Disable { name, .. } => {
                accounts.set_user_state(name, UserState::Disabled).await?;
            }
            Self::Enable { name, .. } => accounts.set_user_state(name, UserState::Active).await?,
        }
        Ok(String::new())
    }
}

/// Reads a password without echo from a terminal, or else the first line of standard input.
fn read_password() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("New password: ").context("cannot read the password");
    }
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// One line of the list of users.
fn describe(user: &UserEntry) -> String {
    let state = match user.state {
        UserState::Active => "active",
        UserState::Disabled => "disabled",
    };
    let quota = user
        .quota_bytes
        .map_or_else(|| "no quota".to_owned(), |quota| format!("of {quota}"));
    let devices = match user.devices {
        1 => "1 device".to_owned(),
        count => format!("{count} devices"),
    };
    format!(
        "{}\t{state}\t{devices}\t{} bytes {quota}",
        user.name, user.held_bytes
    )
}
