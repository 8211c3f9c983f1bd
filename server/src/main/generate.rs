//! `heirloom-server generate`: man pages and shell completions, for packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::{Shell, generate_to};

/// The shells that completions are written for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes man pages and shell completions.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct GenerateCommand {
    /// Write one man page per command to this directory; created if missing
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
    /// Write completions for bash, zsh and fish to this directory; created if missing
    #[arg(long, value_name = "DIR")]
    completions: Option<PathBuf>,
}

impl GenerateCommand {
    /// Writes the files for the program described by `program`.
    pub(crate) fn run(&self, program: &Command) -> anyhow::Result<()> {
        if let Some(directory) = &self.man {
            create(directory)?;
            clap_mangen::generate_to(program.clone(), directory)
                .with_context(|| format!("cannot write man pages to {}", directory.display()))?;
        }
        if let Some(directory) = &self.completions {
            create(directory)?;
            for shell in SHELLS {
                let name = program.get_name().to_owned();
                generate_to(shell, &mut program.clone(), name, directory).with_context(|| {
                    format!("cannot write completions to {}", directory.display())
                })?;
            }
        }
        Ok(())
    }
}

fn create(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create the directory {}", directory.display()))
}
