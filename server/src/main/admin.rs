//! What an administrator says about users and devices. Whoever may write the data directory may say
//! it; nothing of it goes over the network. A running server heeds it within seconds: that long it
//! remembers who showed which token.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use heirloom_protocol::message::Scope;
use heirloom_server::accounts::Accounts;
use heirloom_server::config::DataDir;
use heirloom_server::index::{DeviceEntry, Index, UserEntry, UserState};

use super::words;

/// Bytes of a line with a password, at most: more than any password has.
const LINE_BYTES_MAX: u64 = 4096;

/// Which server's users and devices.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The server's data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Adds a user and prints their token, once
    Add {
        /// The user's name
        name: String,
        #[command(flatten)]
        at: Where,
    },
    /// Lists the users: name, state, number of devices, bytes held and allowed
    List {
        #[command(flatten)]
        at: Where,
    },
    /// Sets a user's password for `heirloom login`: asks for it, or takes the first line of
    /// standard input
    Passwd {
        /// The user's name
        name: String,
        #[command(flatten)]
        at: Where,
    },
    /// Sets how much a user may hold; what they hold already stays
    Quota {
        /// The user's name
        name: String,
        /// Bytes, such as 500000000, 500M or 2T; or none
        #[arg(value_parser = words::quota)]
        quota: words::Quota,
        #[command(flatten)]
        at: Where,
    },
    /// Locks a user out; what they have stays
    Disable {
        /// The user's name
        name: String,
        #[command(flatten)]
        at: Where,
    },
    /// Lets a disabled user in again, with the devices they had
    Enable {
        /// The user's name
        name: String,
        #[command(flatten)]
        at: Where,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Adds a device of a user and prints its token, once
    Add {
        /// The user's name
        user: String,
        /// The device's name
        device: String,
        /// What its token may do
        #[arg(long, value_enum, default_value_t = ScopeChoice::Full)]
        scope: ScopeChoice,
        #[command(flatten)]
        at: Where,
    },
    /// Lists a user's devices: name, scope
    List {
        /// The user's name
        user: String,
        #[command(flatten)]
        at: Where,
    },
    /// Takes a device's token away; it is good for nothing from then on
    Revoke {
        /// The user's name
        user: String,
        /// The device's name
        device: String,
        #[command(flatten)]
        at: Where,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScopeChoice {
    /// All that the user may
    Full,
    /// Read, and add what was not there
    AppendOnly,
    /// Read
    ReadOnly,
}

impl From<ScopeChoice> for Scope {
    fn from(choice: ScopeChoice) -> Self {
        match choice {
            ScopeChoice::Full => Self::Full,
            ScopeChoice::AppendOnly => Self::AppendOnly,
            ScopeChoice::ReadOnly => Self::ReadOnly,
        }
    }
}

impl UserCommand {
    /// Answers what to print. Of a new user that is the token alone, so that a script may take the
    /// whole output.
    pub(crate) async fn carry_out(self) -> anyhow::Result<String> {
        let book = Book::open(match &self {
            Self::Add { at, .. }
            | Self::List { at }
            | Self::Passwd { at, .. }
            | Self::Quota { at, .. }
            | Self::Disable { at, .. }
            | Self::Enable { at, .. } => &at.data,
        });
        let book = book.await?;
        let accounts = &book.accounts;
        let said = match &self {
            Self::Add { name, .. } => accounts.add_user(name).await,
            Self::List { .. } => accounts.users().await.map(|users| lines(&users, user_line)),
            Self::Passwd { name, .. } => {
                let password = ask_password()?;
                accounts
                    .set_password(name, password)
                    .await
                    .map(|()| String::new())
            }
            Self::Quota { name, quota, .. } => accounts
                .set_quota(name, quota.bytes())
                .await
                .map(|()| String::new()),
            Self::Disable { name, .. } => set_state(accounts, name, UserState::Disabled).await,
            Self::Enable { name, .. } => set_state(accounts, name, UserState::Active).await,
        };
        book.close().await;
        Ok(said?)
    }
}

impl DeviceCommand {
    /// Answers what to print. Of a new device that is the token alone.
    pub(crate) async fn carry_out(self) -> anyhow::Result<String> {
        let book = Book::open(match &self {
            Self::Add { at, .. } | Self::List { at, .. } | Self::Revoke { at, .. } => &at.data,
        });
        let book = book.await?;
        let accounts = &book.accounts;
        let said = match &self {
            Self::Add {
                user,
                device,
                scope,
                ..
            } => accounts.add_device(user, device, (*scope).into()).await,
            Self::List { user, .. } => accounts
                .devices(user)
                .await
                .map(|devices| lines(&devices, device_line)),
            Self::Revoke { user, device, .. } => accounts
                .revoke_device(user, device)
                .await
                .map(|()| String::new()),
        };
        book.close().await;
        Ok(said?)
    }
}

/// The door book, as long as one command needs it.
pub(crate) struct Book {
    pub(crate) index: Index,
    accounts: Accounts,
}

impl Book {
    pub(crate) async fn open(data: &Path) -> anyhow::Result<Self> {
        let index = Index::open(&DataDir::open(data)?.index_url())
            .await
            .context("open the index")?;
        Ok(Self {
            accounts: Accounts::new(index.clone()),
            index,
        })
    }

    pub(crate) async fn close(self) {
        self.index.close().await;
    }
}

/// Without echo from a terminal; otherwise the first line of standard input.
fn ask_password() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("New password: ").context("ask for the password");
    }
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .context("read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn set_state(
    accounts: &Accounts,
    name: &str,
    state: UserState,
) -> Result<String, heirloom_server::accounts::AccountError> {
    accounts
        .set_user_state(name, state)
        .await
        .map(|()| String::new())
}

fn lines<T>(entries: &[T], line: fn(&T) -> String) -> String {
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn user_line(user: &UserEntry) -> String {
    let state = match user.state {
        UserState::Active => "active",
        UserState::Disabled => "disabled",
    };
    let quota = user
        .quota_bytes
        .map_or_else(|| "no quota".to_owned(), |quota| format!("of {quota}"));
    format!(
        "{}\t{state}\t{} devices\t{} bytes {quota}",
        user.name, user.devices, user.held_bytes
    )
}

fn device_line(device: &DeviceEntry) -> String {
    let scope = match device.scope {
        Scope::Full => "full",
        Scope::AppendOnly => "append-only",
        Scope::ReadOnly => "read-only",
    };
    format!("{}\t{scope}", device.name)
}
