//! A device: one user's mount, in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heirloom_protocol::Fingerprint;
use serde_json::Value;

use crate::command::{CommandOutput, Process, output_of, run};
use crate::eventually::{BACKED_UP_WITHIN, CRASHED_WITHIN, SOON, eventually};

/// The path of the client program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_heirloom");

/// A device, mounted or not. Dropping it ends its process and unmounts it.
#[derive(Debug)]
pub struct Device {
    name: String,
    folder: PathBuf,
    /// `None`: the server that `heirloom login` saved.
    server: Option<String>,
    options: Vec<String>,
    variables: Vec<(&'static str, PathBuf)>,
    process: Option<Process>,
}

impl Device {
    /// A device that keeps everything in `folder` and connects to `server` with this token, not
    /// mounted yet.
    pub fn new(name: &str, folder: PathBuf, server: &str, token: &str) -> Self {
        fs::create_dir_all(folder.join("mount")).expect("a mountpoint");
        let device = Self {
            name: name.to_owned(),
            folder,
            server: Some(server.to_owned()),
            options: Vec::new(),
            variables: Vec::new(),
            process: None,
        };
        device.log_in(token);
        device
    }

    /// Uses another token from the next mount on.
    pub fn log_in(&self, token: &str) {
        fs::write(self.token_file(), format!("{token}\n")).expect("a token file");
    }

    /// Connects to this address from the next mount on.
    pub fn move_to(&mut self, server: std::net::SocketAddr) {
        self.server = Some(format!("http://{server}"));
    }

    /// Adds these options from the next mount on.
    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self
    }

    /// Sets these environment variables from the next mount on.
    pub fn with_variables(mut self, variables: Vec<(&'static str, PathBuf)>) -> Self {
        self.variables = variables;
        self
    }

    /// Uses the login that `heirloom login` saved from the next mount on.
    pub fn with_saved_login(mut self) -> Self {
        self.server = None;
        self
    }

    /// Its mountpoint.
    pub fn mountpoint(&self) -> PathBuf {
        self.folder.join("mount")
    }

    /// The id of its running process.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it is mounted").id()
    }

    /// A path in the mount.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.mountpoint().join(below)
    }

    /// The state directory: spool, journal, log, control socket.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The file with its token.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// Its program, ready for arguments. Everything that the program keeps outside the state
    /// directory stays in the device's folder.
    pub fn heirloom<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env("HOME", &self.folder)
            .env("RUST_LOG", "heirloom=debug,info");
        for variable in [
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "XDG_RUNTIME_DIR",
            "XDG_CACHE_HOME",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// The command that mounts it in the foreground.
    pub fn mount_command(&self) -> Command {
        let mut command = self.heirloom(["mount"]);
        command.arg(self.mountpoint());
        if let Some(server) = &self.server {
            command
                .args(["--server", server])
                .arg("--token-file")
                .arg(self.token_file());
        }
        command
            .arg("--state")
            .arg(self.state())
            .arg("--foreground")
            .args(&self.options);
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Mounts, and waits until the mount is usable.
    #[track_caller]
    pub fn mount(&mut self) {
        let log = self.folder.join("heirloom.log");
        let mut process = Process::start(&self.name, self.mount_command(), &log);
        eventually(
            SOON,
            &format!("{} is mounted and answers", self.name),
            || {
                assert!(
                    process.is_running(),
                    "{} ended:\n{}",
                    self.name,
                    fs::read_to_string(&log).unwrap_or_default()
                );
                is_mounted(&self.mountpoint()) && self.ask_status().code == 0
            },
        );
        self.process = Some(process);
    }

    /// Mounts with a process that ends at this crash point; returns when the mount is usable or the
    /// process has ended.
    #[track_caller]
    pub fn mount_to_crash(&mut self, at: &str) {
        let mut command = self.mount_command();
        command.env("HEIRLOOM_CRASH_AT", at);
        let mut process = Process::start(&self.name, command, &self.folder.join("heirloom.log"));
        eventually(SOON, &format!("{} is mounted or gone", self.name), || {
            !process.is_running() || (is_mounted(&self.mountpoint()) && self.ask_status().code == 0)
        });
        self.process = Some(process);
    }

    /// Waits until the process reaches its crash point. The dead mount stays.
    #[track_caller]
    pub fn wait_for_crash(&mut self) {
        let mut process = self.process.take().expect("it was started");
        eventually(
            CRASHED_WITHIN,
            &format!("{} comes to its crash point", self.name),
            || !process.is_running(),
        );
    }

    /// SIGKILL. The dead mount stays.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM; waits for a clean exit.
    #[track_caller]
    pub fn terminate(&mut self) {
        self.process.take().expect("it runs").terminate();
        assert!(!is_mounted(&self.mountpoint()), "SIGTERM unmounts");
    }

    /// Waits until the process exits by itself, after something else unmounted it.
    #[track_caller]
    pub fn exits_cleanly(&mut self) {
        self.process.take().expect("it runs").exits_cleanly();
        assert!(!is_mounted(&self.mountpoint()), "it is unmounted");
    }

    /// `heirloom unmount`; waits until the process exits. A program that another test is just
    /// starting holds copies of this process's descriptors until its execve(2), and with them the
    /// mount: that is waited for.
    #[track_caller]
    pub fn unmount(&mut self) {
        eventually(SOON, "no other test is starting a program", || {
            let unmount = output_of(self.heirloom([Path::new("unmount"), &self.mountpoint()]));
            let is_busy = unmount.code != 0 && unmount.stderr.contains("is in use");
            if !is_busy {
                unmount.succeeds();
            }
            !is_busy
        });
        self.exits_cleanly();
    }

    fn ask_status(&self) -> CommandOutput {
        output_of(self.heirloom([Path::new("status"), &self.mountpoint(), Path::new("--json")]))
    }

    /// `heirloom status --json`.
    #[track_caller]
    pub fn status(&self) -> Status {
        Status(serde_json::from_str(&self.ask_status().succeeds()).expect("status is JSON"))
    }

    /// `heirloom wait`: returns when everything is backed up.
    #[track_caller]
    pub fn wait(&self) {
        self.wait_for(&[]);
    }

    /// `heirloom wait` for these paths below the mountpoint.
    #[track_caller]
    pub fn wait_for(&self, paths: &[&str]) {
        let mut command = self.heirloom([Path::new("wait"), &self.mountpoint()]);
        command.args(paths.iter().map(|path| self.path(path)));
        output_of({
            command.args(["--timeout", &BACKED_UP_WITHIN.as_secs().to_string()]);
            command
        })
        .succeeds();
    }

    /// The extended attribute `user.heirloom.NAME` of a file in the mount.
    #[track_caller]
    pub fn attribute(&self, path: &str, name: &str) -> String {
        self.ask_attribute(path, name).succeeds()
    }

    /// The same attribute; empty if it does not exist.
    pub fn attribute_or_empty(&self, path: &str, name: &str) -> String {
        self.ask_attribute(path, name).stdout
    }

    fn ask_attribute(&self, path: &str, name: &str) -> CommandOutput {
        let attribute = format!("user.heirloom.{name}");
        let file = self.path(path);
        run(
            "getfattr",
            [
                "--absolute-names",
                "--only-values",
                "-n",
                &attribute,
                file.to_str().expect("a plain path"),
            ],
        )
    }

    /// Copies a file into the mount with `cp`.
    #[track_caller]
    pub fn copy_in(&self, file: &Path) {
        run("cp", [file, &self.mountpoint()]).succeeds();
    }

    /// The fingerprints of all files in the mount, by path below it.
    pub fn contents(&self) -> Vec<(String, Fingerprint)> {
        fingerprints_below(&self.mountpoint())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.process = None;
        if is_mounted(&self.mountpoint()) {
            let mountpoint = self.mountpoint();
            let ended = run(
                "fusermount3",
                ["-u", "-z", mountpoint.to_str().expect("a plain path")],
            );
            println!("{} left its mount behind: {ended}", self.name);
        }
    }
}

/// The fingerprints of all files below a folder, by path below it, sorted.
pub fn fingerprints_below(folder: &Path) -> Vec<(String, Fingerprint)> {
    let mut found: Vec<_> = crate::server::files_below(folder)
        .into_iter()
        .map(|file| {
            let below = file
                .strip_prefix(folder)
                .expect("below it")
                .to_str()
                .expect("a plain path")
                .to_owned();
            (
                below,
                Fingerprint::of(&fs::read(&file).expect("a readable file")),
            )
        })
        .collect();
    found.sort();
    found
}

/// Whether something is mounted there, alive or dead (proc(5): the fifth field of a line of
/// mountinfo).
pub fn is_mounted(mountpoint: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == mountpoint.to_str())
}

/// The output of `heirloom status --json`.
#[derive(Debug)]
pub struct Status(Value);

impl Status {
    /// The number at a JSON pointer such as `/files/pending/bytes`.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> u64 {
        self.0
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no number {pointer} in {:#}", self.0))
    }

    /// The boolean at a JSON pointer such as `/comparing`.
    #[track_caller]
    pub fn flag(&self, pointer: &str) -> bool {
        self.0
            .pointer(pointer)
            .and_then(Value::as_bool)
            .unwrap_or_else(|| panic!("no word {pointer} in {:#}", self.0))
    }

    /// The string at a JSON pointer such as `/connection/state`.
    #[track_caller]
    pub fn word(&self, pointer: &str) -> &str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no word {pointer} in {:#}", self.0))
    }

    /// The number of files in this state.
    #[track_caller]
    pub fn files(&self, state: &str) -> u64 {
        self.number(&format!("/files/{state}/files"))
    }

    /// The number of files that are not backed up yet.
    pub fn waiting(&self) -> u64 {
        self.files("pending") + self.files("uploading")
    }

    /// Photo bytes sent since the mount.
    pub fn sent(&self) -> u64 {
        self.number("/sent_bytes")
    }
}
