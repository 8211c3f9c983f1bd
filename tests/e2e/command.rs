//! Runs the programs that people copy with, and our own, each within a time limit.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually::{SOON, eventually};

/// Seconds that one command may take: `timeout` ends what hangs, so that a test fails instead.
const COMMAND_SECONDS: &str = "180";

/// In place of the code of a command that a signal ended.
pub const NO_CODE: i32 = -1;

/// How a command ended.
#[derive(Debug)]
pub struct CommandOutput {
    command: String,
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// Runs a program of this machine to its end.
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

/// The same with this on its standard input.
#[track_caller]
pub fn output_with_input(mut command: Command, said: &str) -> CommandOutput {
    let line = format!("{command:?}");
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("start {line}: {error}"));
    // What listens to nothing may have ended already.
    drop(
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(said.as_bytes()),
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
    /// Fails the test unless the command succeeded; answers what it printed.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.stdout
    }

    /// Fails the test unless the command refused with one sentence of these words and no panic;
    /// answers the sentence.
    #[track_caller]
    pub fn fails_with(self, words: &[&str]) -> String {
        assert!(
            self.code != 0 && self.code < 100,
            "it should have refused: {self}"
        );
        let said = self.stderr.trim();
        assert!(
            !said.is_empty() && !said.contains("panicked"),
            "a sentence for a person: {self}"
        );
        for word in words {
            assert!(
                said.to_lowercase().contains(&word.to_lowercase()),
                "{word:?} should stand in: {self}"
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

/// A process that we started and that runs until we end it. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with all that it prints going to the end of `log`.
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

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Its number, as the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no random to put anything in order.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and waits for a clean end.
    #[track_caller]
    pub fn terminate(self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("our own child");
        self.exits_cleanly();
    }

    /// Waits for it to end by itself, with exit code 0.
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
