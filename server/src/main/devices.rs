//! `heirloom-server device`: the devices of a user, each with an access token of its own.

use clap::{Subcommand, ValueEnum};
use heirloom_protocol::message::Scope;
use heirloom_server::index::DeviceEntry;

use super::context::{AdminContext, DataDirArgument};

/// Manages the devices of a user.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Add a device and print its access token; it is shown only once
    Add {
        /// Name of the user
        user: String,
        /// Name of the new device
        device: String,
        /// What the device may do
        #[arg(long, value_enum, default_value_t = ScopeArgument::Full)]
        scope: ScopeArgument,
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// List the devices of a user: name and scope
    List {
        /// Name of the user
        user: String,
        #[command(flatten)]
        data: DataDirArgument,
    },
    /// Revoke the access token of a device, for example a lost one
    Revoke {
        /// Name of the user
        user: String,
        /// Name of the device
        device: String,
        #[command(flatten)]
        data: DataDirArgument,
    },
}

/// The scope of a device's token.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScopeArgument {
    /// Everything the user may do
    Full,
    /// Read, and add new photos, but never remove or replace any
    AppendOnly,
    /// Read only
    ReadOnly,
}

impl From<ScopeArgument> for Scope {
    fn from(scope: ScopeArgument) -> Self {
        match scope {
            ScopeArgument::Full => Self::Full,
            ScopeArgument::AppendOnly => Self::AppendOnly,
            ScopeArgument::ReadOnly => Self::ReadOnly,
        }
    }
}

impl DeviceCommand {
    /// Runs the command and returns the text to print. For a new device that is the token alone.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let (Self::Add { data, .. } | Self::List { data, .. } | Self::Revoke { data, .. }) = &self;
        let context = AdminContext::open(&data.path).await?;
        let output = self.run_in(&context).await;
        context.close().await;
        output
    }

    async fn run_in(&self, context: &AdminContext) -> anyhow::Result<String> {
        let accounts = &context.accounts;
        match self {
            Self::Add {
                user,
                device,
                scope,
                ..
            } => Ok(accounts.add_device(user, device, (*scope).into()).await?),
            Self::List { user, .. } => {
                let devices = accounts.devices(user).await?;
                let lines: Vec<_> = devices.iter().map(describe).collect();
                Ok(lines.join("\n"))
            }
            Self::Revoke { user, device, .. } => {
                accounts.revoke_device(user, device).await?;
                Ok(String::new())
            }
        }
    }
}

/// One line of the list of devices.
fn describe(device: &DeviceEntry) -> String {
    let scope = match device.scope {
        Scope::Full => "full",
        Scope::AppendOnly => "append-only",
        Scope::ReadOnly => "read-only",
    };
    format!("{}\t{scope}", device.name)
}
