//! A real server process with its own data directory; it can be killed and started again on the
//! same port.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use heirloom_protocol::Fingerprint;

use crate::command::{CommandOutput, NO_CODE, Process, output_of, output_with_input};
use crate::eventually::{CRASHED_WITHIN, SOON, eventually};

/// The line that the server prints once it accepts connections, before its address.
const LISTENS: &str = "heirloom-server listens on http://";

/// The environment variable that `heirloom-crash` reads.
const CRASH_AT: &str = "HEIRLOOM_CRASH_AT";

/// The server of an installation.
#[derive(Debug)]
pub struct Server {
    data: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    options: Vec<String>,
    variables: Vec<(&'static str, PathBuf)>,
    process: Option<Process>,
}

impl Server {
    /// Starts it on a free port, with its data in `folder`.
    pub fn start(folder: &Path) -> Self {
        let any_port = "127.0.0.1:0".parse().expect("an address");
        let mut server = Self {
            data: folder.join("data"),
            log: folder.join("server.log"),
            address: any_port,
            options: Vec::new(),
            variables: Vec::new(),
            process: None,
        };
        server.start_again();
        server
    }

    /// Starts it again on the same port and data.
    pub fn start_again(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it on another port.
    pub fn start_on_another_port(&mut self) {
        self.address.set_port(0);
        self.start_again();
    }

    /// Starts a process that ends at this crash point.
    pub fn start_to_crash(&mut self, at: &str) {
        self.start_with(&[(CRASH_AT, at)]);
    }

    /// Starts a process that reaches this crash point by itself, perhaps before it listens; waits
    /// until it has ended.
    #[track_caller]
    pub fn start_and_crash(&mut self, at: &str) {
        self.process = Some(Process::start(
            "the server",
            self.command(&[(CRASH_AT, at)]),
            &self.log,
        ));
        self.wait_for_crash();
    }

    /// Waits until the process reaches its crash point.
    #[track_caller]
    pub fn wait_for_crash(&mut self) {
        let mut process = self.process.take().expect("it was started");
        eventually(
            CRASHED_WITHIN,
            "the server comes to its crash point",
            || !process.is_running(),
        );
    }

    fn start_with(&mut self, variables: &[(&str, &str)]) {
        let mark = fs::metadata(&self.log).map_or(0, |log| log.len());
        let mut process = Process::start("the server", self.command(variables), &self.log);
        eventually(SOON, "the server says where it listens", || {
            assert!(
                process.is_running(),
                "the server ended:\n{}",
                fs::read_to_string(&self.log).unwrap_or_default()
            );
            let log = fs::read(&self.log).expect("the server's log");
            let log = String::from_utf8_lossy(&log[usize::try_from(mark).expect("a short log")..])
                .into_owned();
            let address = log
                .lines()
                .find_map(|line| line.strip_prefix(LISTENS)?.trim().parse().ok());
            self.address = address.unwrap_or(self.address);
            address.is_some()
        });
        self.process = Some(process);
    }

    fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program());
        command
            .envs(variables.iter().copied())
            .envs(self.variables.iter().cloned())
            .arg("--data")
            .arg(&self.data)
            .args(["--listen", &self.address.to_string()])
            .args(&self.options);
        command
    }

    /// Restarts it with these additional options.
    pub fn with_options(&mut self, options: &[&str]) {
        self.stop();
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.start_again();
    }

    /// Restarts it with these environment variables.
    pub fn with_variables(&mut self, variables: Vec<(&'static str, PathBuf)>) {
        self.stop();
        self.variables = variables;
        self.start_again();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM: lets requests finish.
    pub fn stop(&mut self) {
        self.process.take().expect("it runs").terminate();
    }

    /// Stops it for good with SIGTERM.
    pub fn end(mut self) {
        self.stop();
    }

    /// The id of its running process.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The content of its log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs one of the administrator's commands for this server.
    pub fn admin(&self, words: &[&str]) -> CommandOutput {
        output_of(self.admin_command(words))
    }

    /// Runs it with a process that ends at this crash point.
    #[track_caller]
    pub fn admin_to_crash(&self, at: &str, words: &[&str]) {
        let mut command = self.admin_command(words);
        command.env(CRASH_AT, at);
        let ended = output_of(command);
        assert_eq!(
            ended.code, NO_CODE,
            "it should have come to its crash point: {ended}"
        );
    }

    fn admin_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).arg("--data").arg(&self.data);
        command
    }

    /// Adds a user and returns the token.
    pub fn add_user(&self, name: &str) -> String {
        let printed = self.admin(&["user", "add", name]).succeeds();
        let token = printed.trim();
        assert!(
            !token.is_empty() && !token.contains(char::is_whitespace),
            "the token, alone: {printed:?}"
        );
        token.to_owned()
    }

    /// Sets a user's password.
    pub fn set_password(&self, name: &str, password: &str) {
        output_with_input(
            self.admin_command(&["user", "passwd", name]),
            &format!("{password}\n"),
        )
        .succeeds();
    }

    /// Every image on the server's disk with its length. Each is read and hashed here, and has the
    /// fingerprint in its name.
    pub fn images(&self) -> BTreeMap<Fingerprint, u64> {
        let mut images = BTreeMap::new();
        for file in files_below(&self.data.join("images")) {
            let bytes = fs::read(&file).expect("a stored image");
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a plain name");
            assert_eq!(
                Fingerprint::of(&bytes).to_string(),
                name,
                "an image's name is its content's"
            );
            images.insert(Fingerprint::of(&bytes), bytes.len() as u64);
        }
        images
    }
}

/// Every regular file below a folder; none if the folder does not exist.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries.map(|entry| entry.expect("a readable folder")) {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

/// The server program, which cargo puts beside the client program.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_heirloom")).with_file_name("heirloom-server");
    assert!(
        program.exists(),
        "{} is missing: run scripts/test, or `cargo build --workspace`",
        program.display()
    );
    program
}
