//! Runs the programs that people copy with, and our own, each with a time limit.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::{SOON, eventually};

/// Seconds that one command may take. `timeout` ends a command that hangs, so that the test fails.
const COMMAND_SECONDS: &str = "180";

/// Stands for the exit code of a command that a signal ended.
pub const NO_CODE: i32 = -1;

/// The exit code and output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    command: String,
    /// Its exit code, or [`NO_CODE`].
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> CommandOutput {
    let mut command = Command::new("timeout");
    command.args([COMMAND_SECONDS, program]).args(arguments);
    output_of(command)
}

/// Runs a prepared command to its end.
#[track_caller]
pub fn output_of(command: Command) -> CommandOutput {
    output_with_input(command, "")
}

/// Runs a prepared command to its end, with `input` on its standard input.
#[track_caller]
pub fn output_with_input(mut command: Command, input: &str) -> CommandOutput {
    let line = format!("{command:?}");
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("start {line}: {error}"));
    // A command that reads no input may have ended already.
    drop(
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes()),
    );
    let output = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("wait for {line}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(NO_CODE);
    assert_ne!(
        code, 127,
        "{line}: not installed; scripts/test installs what the tests need"
    );
    CommandOutput {
        command: line,
        code,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl CommandOutput {
    /// Asserts that the command succeeded, and returns its standard output.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.stdout
    }

    /// Asserts that the command failed with a message that contains these words and no panic, and
    /// returns the message.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> String {
        assert!(
            self.code != 0 && self.code < 100,
            "the command should have failed: {self}"
        );
        let said = self.stderr.trim();
        assert!(
            !said.is_empty() && !said.contains("panicked"),
            "expected an error message: {self}"
        );
        for word in words {
            assert!(
                said.to_lowercase().contains(&word.to_lowercase()),
                "expected {word:?} in: {self}"
            );
        }
        self.stderr
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}\ncode {}\n{}{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command, with its output appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .expect("a log")
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: the process cannot clean up.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM; waits for a clean exit.
    #[track_caller]
    pub fn terminate(self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("our own child");
        self.exits_cleanly();
    }

    /// Waits until it exits by itself, with exit code 0.
    #[track_caller]
    pub fn exits_cleanly(mut self) {
        eventually(SOON, &format!("{} ends", self.name), || !self.is_running());
        let status = self.child.wait().expect("it has ended");
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    fn end(&mut self) {
        if self.is_running() {
            self.child.kill().expect("our own child");
            self.child.wait().expect("our own child");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            println!("---- the last lines of {}:", self.name);
            for line in &lines[lines.len().saturating_sub(80)..] {
                println!("{line}");
            }
        }
    }
}
