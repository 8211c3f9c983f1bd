//! Moves the daemon into the background: the program starts itself again and waits until the mount
//! is usable.
//!
//! This is not `fork`: the child of a forked process with threads may do next to nothing. The
//! background process writes one line to its standard output, either `ready` or an error; its
//! standard error is the log.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

/// The line that reports a usable mount.
const READY: &str = "ready";

/// Why the daemon is not running in the background.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The background process could not be started.
    #[error("cannot start the background process")]
    Start(#[source] io::Error),
    /// It started and reported an error.
    #[error("{0}")]
    Failed(String),
    /// It ended without reporting anything.
    #[error("the background process ended before the mount was usable; see the log")]
    Silent,
}

/// Starts this program again with `arguments`, in the background, and returns once it reports that
/// the mount is usable.
pub fn detach(arguments: &[std::ffi::OsString], log: File) -> Result<(), DetachError> {
    let program = std::env::current_exe().map_err(DetachError::Start)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(DetachError::Start)?;
    let output = child
        .stdout
        .take()
        .expect("standard output was configured as a pipe");
    let mut report = String::new();
    BufReader::new(output)
        .read_line(&mut report)
        .map_err(DetachError::Start)?;
    match report.trim_end() {
        READY => Ok(()),
        "" => Err(DetachError::Silent),
        failure => Err(DetachError::Failed(failure.to_owned())),
    }
}

/// In the background process: reports that the mount is usable. Nothing may be written to standard
/// output after this.
pub fn report_ready() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// In the background process: reports why the mount did not start, as one line.
pub fn report_failure(why: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", why.replace('\n', " "))?;
    out.flush()
}
