//! `heirloom generate`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

/// The shells that completions are generated for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Generate man pages and shell completions
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct GenerateArgs {
    /// Write one man page for each command into this directory; created if missing
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
    /// Write completions for bash, zsh and fish into this directory; created if missing
    #[arg(long, value_name = "DIR")]
    completions: Option<PathBuf>,
}

impl GenerateArgs {
    pub(super) fn run(self, mut command: clap::Command) -> anyhow::Result<ExitCode> {
        if let Some(directory) = &self.man {
            create(directory)?;
            clap_mangen::generate_to(command.clone(), directory)
                .with_context(|| format!("cannot write man pages to {}", directory.display()))?;
        }
        if let Some(directory) = &self.completions {
            create(directory)?;
            for shell in SHELLS {
                clap_complete::generate_to(shell, &mut command, "heirloom", directory)
                    .with_context(|| {
                        format!("cannot write completions to {}", directory.display())
                    })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn create(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create the directory {}", directory.display()))
}
