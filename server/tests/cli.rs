//! Everything `heirloom-server` prints at the command line, as recorded in `tests/cli`.
//!
//! To record an intended change of words: `TRYCMD=overwrite cargo test -p heirloom-server --test
//! cli`, then review the difference.

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_heirloom-server");

#[test]
fn every_help_page_and_error_reads_as_recorded() {
    trycmd::TestCases::new()
        .register_bin("heirloom-server", Path::new(PROGRAM))
        .case("tests/cli/*.trycmd");
}

#[test]
fn man_pages_and_completions_are_generated() {
    let directory = tempfile::tempdir().unwrap();
    let (man, completions) = (
        directory.path().join("share/man1"),
        directory.path().join("completions"),
    );
    let generated = Command::new(PROGRAM)
        .arg("generate")
        .arg("--man")
        .arg(&man)
        .arg("--completions")
        .arg(&completions)
        .output()
        .unwrap();
    assert!(generated.status.success(), "{generated:?}");

    for (page, expected) in [
        ("heirloom-server.1", "cross\\-user"),
        ("heirloom-server-user-quota.1", "20GiB"),
        ("heirloom-server-trash-purge.1", "permanently"),
        ("heirloom-server-scrub.1", "quarantine"),
    ] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains(expected), "{page}:\n{text}");
    }
    for file in [
        "heirloom-server.bash",
        "_heirloom-server",
        "heirloom-server.fish",
    ] {
        let text = fs::read_to_string(completions.join(file)).unwrap();
        assert!(
            text.contains("cross-user") && text.contains("append-only"),
            "{file}:\n{text}"
        );
    }
}

#[test]
fn bash_accepts_the_generated_completions() {
    let directory = tempfile::tempdir().unwrap();
    let generated = Command::new(PROGRAM)
        .arg("generate")
        .arg("--completions")
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(generated.success());
    let checked = Command::new("bash")
        .arg("-n")
        .arg(directory.path().join("heirloom-server.bash"))
        .status()
        .unwrap();
    assert!(checked.success());
}
