//! Programs that ask much of a file system work in the mount: a database that several processes
//! use, and version control.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::fixture::TestMount;

/// A `sqlite3` process on a database, fed line by line.
struct Database {
    program: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Database {
    fn open(path: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut program = command.spawn().expect("the package sqlite3 is installed");
        let (input, output) = (
            program.stdin.take().unwrap(),
            BufReader::new(program.stdout.take().unwrap()),
        );
        Self {
            program,
            input,
            output,
        }
    }

    /// Runs statements; returns their output in one line.
    fn ask(&mut self, statements: &str) -> String {
        writeln!(self.input, "{statements}\nSELECT 'done';").unwrap();
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "sqlite3 ended at {statements:?}"
            );
            match line.trim() {
                "done" => return said.join(" "),
                line => said.push(line.to_owned()),
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

/// Runs statements in a process of their own; returns the output, or the error.
fn run_sql(path: &Path, statements: &str) -> Result<String, String> {
    let output = Command::new("sqlite3")
        .arg("-bail")
        .arg(path)
        .arg(statements)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', " ");
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

const MODES: [&str; 3] = ["delete", "truncate", "wal"];

fn create(path: &Path, mode: &str) {
    let outcome = run_sql(
        path,
        &format!("PRAGMA journal_mode={mode}; CREATE TABLE photos(name TEXT, size INTEGER);"),
    );
    assert_eq!(outcome.as_deref(), Ok(mode));
}

#[track_caller]
fn must_be_whole(path: &Path, photos: u32) {
    let whole = run_sql(path, "PRAGMA integrity_check; SELECT count(*) FROM photos;");
    assert_eq!(whole.unwrap(), format!("ok {photos}"));
}

#[test]
fn a_database_is_locked_while_another_process_writes() {
    let mounted = TestMount::new();
    for mode in MODES {
        let path = mounted.path(mode);
        create(&path, mode);
        let mut writer = Database::open(&path);
        writer.ask("BEGIN IMMEDIATE; INSERT INTO photos VALUES('a', 1);");
        let refused = run_sql(&path, "INSERT INTO photos VALUES('b', 2);").unwrap_err();
        assert!(refused.contains("database is locked"), "{mode}: {refused}");
        assert_eq!(
            run_sql(&path, "SELECT count(*) FROM photos;").as_deref(),
            Ok("0"),
            "{mode}: not committed yet"
        );
        writer.ask("COMMIT;");
        run_sql(&path, "INSERT INTO photos VALUES('b', 2);").unwrap();
        must_be_whole(&path, 2);
    }
}

#[test]
fn readers_of_a_write_ahead_log_keep_their_snapshot_while_others_write() {
    let mounted = TestMount::new();
    let path = mounted.path("photos.db");
    create(&path, "wal");
    run_sql(&path, "INSERT INTO photos VALUES('a', 1);").unwrap();
    let mut reader = Database::open(&path);
    assert_eq!(reader.ask("BEGIN; SELECT count(*) FROM photos;"), "1");
    let mut writer = Database::open(&path);
    writer.ask("INSERT INTO photos VALUES('b', 2);");
    assert_eq!(
        reader.ask("SELECT count(*) FROM photos;"),
        "1",
        "its own view"
    );
    assert_eq!(reader.ask("COMMIT; SELECT count(*) FROM photos;"), "2");
    assert!(
        mounted.path("photos.db-shm").exists() && mounted.path("photos.db-wal").exists(),
        "in use, in the mount"
    );
    assert_eq!(writer.ask("PRAGMA wal_checkpoint(TRUNCATE);"), "0|0|0");
    must_be_whole(&path, 2);
}

#[test]
fn two_processes_write_one_database_at_the_same_time() {
    const EACH: u32 = 60;
    let mounted = TestMount::new();
    for mode in MODES {
        let path = mounted.path(mode);
        create(&path, mode);
        let insert = ".timeout 60000\n".to_owned()
            + &"BEGIN IMMEDIATE; INSERT INTO photos SELECT 'x', count(*) FROM photos; COMMIT;\n"
                .repeat(EACH as usize);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| Database::open(&path).ask(&insert));
            }
        });
        // Each process saw everything before it: no number was assigned twice.
        let distinct = run_sql(&path, "SELECT count(DISTINCT size) FROM photos;");
        assert_eq!(distinct.unwrap(), (2 * EACH).to_string(), "{mode}");
        must_be_whole(&path, 2 * EACH);
    }
}

#[test]
fn a_killed_writer_leaves_an_intact_database() {
    let mounted = TestMount::new();
    for mode in MODES {
        let path = mounted.path(mode);
        create(&path, mode);
        run_sql(&path, "INSERT INTO photos VALUES('kept', 1);").unwrap();
        let mut writer = Database::open(&path);
        // A cache of ten pages: most of it is written before the commit, which never comes.
        let rows = "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n WHERE x<5000)";
        writer.ask(&format!(
            "PRAGMA cache_size=10; BEGIN; {rows} INSERT INTO photos SELECT printf('%0200d', x), x FROM n;"
        ));
        drop(writer);
        must_be_whole(&path, 1);
    }
}

#[test]
fn a_database_survives_a_remount() {
    let mut mounted = TestMount::new();
    create(&mounted.path("photos.db"), "wal");
    run_sql(
        &mounted.path("photos.db"),
        "INSERT INTO photos VALUES('a', 1);",
    )
    .unwrap();
    mounted.remount();
    must_be_whole(&mounted.path("photos.db"), 1);
    must_be_whole(&mounted.spool_path("photos.db"), 1);
}

/// Runs git in a folder, without this machine's git configuration.
#[track_caller]
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args(arguments)
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for (name, value) in [("NAME", "Anna"), ("EMAIL", "anna@example.org")] {
        command
            .env(format!("GIT_AUTHOR_{name}"), value)
            .env(format!("GIT_COMMITTER_{name}"), value);
    }
    let output = command.output().expect("the package git is installed");
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn git_creates_fills_checks_packs_and_clones_a_repository() {
    let mounted = TestMount::new();
    let folder = mounted.path("repository");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    for count in 0..40 {
        fs::write(
            folder.join(format!("deep/er/{count}.txt")),
            format!("text {count}\n").repeat(50),
        )
        .unwrap();
    }
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-q", "-m", "first"]);
    git(&folder, &["fsck", "--full", "--strict"]);
    assert_eq!(git(&folder, &["status", "--porcelain"]), "");
    git(&folder, &["mv", "deep", "moved"]);
    git(&folder, &["commit", "-q", "-a", "-m", "second"]);
    git(&folder, &["gc", "-q", "--prune=now"]);
    git(&folder, &["fsck", "--full", "--strict"]);
    // Clones with hard links inside one file system, and works without them.
    git(&mounted.path(""), &["clone", "-q", "repository", "clone"]);
    let (one, two) = (
        git(&folder, &["rev-parse", "HEAD"]),
        git(&mounted.path("clone"), &["rev-parse", "HEAD"]),
    );
    assert_eq!(one, two);
    git(&folder, &["checkout", "-q", "HEAD~1"]);
    assert!(folder.join("deep/er/39.txt").exists() && !folder.join("moved").exists());
    assert_eq!(
        git(&folder, &["status", "--porcelain"]),
        "",
        "times and numbers that git remembered are still right"
    );
}
