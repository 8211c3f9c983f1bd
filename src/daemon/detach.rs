//! Going into the background: the program starts itself again and waits until the mount is usable.
//!
//! Not `fork`: a forked child of a process with threads may do next to nothing. The second process
//! says on its standard output either `ready` or why not; its standard error is the log.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

/// The line that says that the mount is usable.
const READY: &str = "ready";

/// What keeps the program from going into the background.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The second process does not start.
    #[error("cannot start in the background")]
    Start(#[source] io::Error),
    /// It started, and then could not mount.
    #[error("{0}")]
    Failed(String),
    /// It ended without a word.
    #[error("the background process ended before the mount was usable; its log says why")]
    Silent,
}

/// Starts this program again with `arguments`, in the background, and returns when it reports that
/// it is ready.
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
    let reports = child
        .stdout
        .take()
        .expect("standard output was asked to be a pipe");
    let mut report = String::new();
    BufReader::new(reports)
        .read_line(&mut report)
        .map_err(DetachError::Start)?;
    match report.trim_end() {
        READY => Ok(()),
        "" => Err(DetachError::Silent),
        failure => Err(DetachError::Failed(failure.to_owned())),
    }
}

/// In the background: the mount is usable. From here on the terminal is none of our business.
pub fn report_ready() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// In the background: it will not be.
pub fn report_failure(why: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", why.replace('\n', " "))?;
    out.flush()
}
