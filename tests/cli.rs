//! Snapshots of what `heirloom` prints: the help of every command, and the errors that a person can
//! cause without a mount.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes the snapshots in `tests/cli` anew; those of
//! `heirloom status` belong to the tests of its module (`SNAPSHOTS=overwrite`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_heirloom");

/// The names that `heirloom --help` lists, without `help` itself.
const COMMANDS: [&str; 15] = [
    "free", "generate", "login", "logout", "mount", "pin", "push", "restore", "retry", "status",
    "trash", "unmount", "unpin", "verify", "wait",
];

/// Runs the cases in one folder with a home directory of their own.
fn run_cases(cases: &str) {
    let home = tempfile::tempdir().unwrap();
    let tests = trycmd::TestCases::new();
    tests
        .env("HOME", home.path().to_str().unwrap())
        .env(
            "XDG_STATE_HOME",
            home.path().join("state").to_str().unwrap(),
        )
        .env("XDG_DATA_HOME", home.path().join("data").to_str().unwrap())
        .case(cases);
    tests.run();
}

#[test]
fn help_texts_are_those_in_the_snapshots() {
    run_cases("tests/cli/help/*.trycmd");
}

#[test]
fn errors_are_those_in_the_snapshots() {
    run_cases("tests/cli/errors/*.trycmd");
}

#[test]
fn every_command_has_a_help_snapshot() {
    let snapshots = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect::<BTreeSet<_>>();
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter(|name| *name != "help")
        .collect::<BTreeSet<_>>();
    assert_eq!(listed, BTreeSet::from(COMMANDS));
    for command in COMMANDS {
        assert!(
            snapshots.contains(&format!("{command}.trycmd")),
            "{command}"
        );
    }
}

#[test]
fn man_pages_and_completions_are_generated_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let [man, completions] = ["man/man1", "completions"].map(|name| folder.path().join(name));
    let status = Command::new(PROGRAM)
        .args(["generate", "--man"])
        .arg(&man)
        .arg("--completions")
        .arg(&completions)
        .status();
    assert!(status.unwrap().success());
    for command in COMMANDS {
        let page = fs::read_to_string(man.join(format!("heirloom-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    assert!(fs::exists(man.join("heirloom.1")).unwrap());
    assert!(fs::exists(man.join("heirloom-trash-list.1")).unwrap());
    for file in ["heirloom.bash", "_heirloom", "heirloom.fish"] {
        let script = fs::read_to_string(completions.join(file)).unwrap();
        assert!(script.contains("keep-free"), "{file}");
    }
}
