//! `heirloom-server generate`: man pages and shell completions, for packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::{Shell, generate_to};

/// The shells that completions are written for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// The man pages or completions could not be written to this directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the directory {}", directory.display())]
pub(crate) struct GenerateError {
    directory: PathBuf,
    source: io::Error,
}

/// Writes man pages and shell completions.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct GenerateCommand {
    /// Write one man page for each command into this directory; created if missing
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
    /// Write completions for bash, zsh and fish into this directory; created if missing
    #[arg(long, value_name = "DIR")]
    completions: Option<PathBuf>,
}

impl GenerateCommand {
    /// Writes the files for the program described by `program`.
    pub(crate) fn run(&self, program: &Command) -> Result<(), GenerateError> {
        if let Some(directory) = &self.man {
            write_man_pages(program, directory).map_err(|source| GenerateError {
                directory: directory.clone(),
                source,
            })?;
        }
        if let Some(directory) = &self.completions {
            write_completions(program, directory).map_err(|source| GenerateError {
                directory: directory.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

fn write_man_pages(program: &Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(program.clone(), directory)
}

fn write_completions(program: &Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for shell in SHELLS {
        generate_to(shell, &mut program.clone(), program.get_name(), directory)?;
    }
    Ok(())
}
