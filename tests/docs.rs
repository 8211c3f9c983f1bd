//! The docs name only files and tests that exist.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "repository/files.rs"]
mod repository;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use repository::{files, root};

/// What stands between single backticks on a page, each with the page's name. Indented blocks and
/// what has a space in it are commands and texts.
fn quoted(page: &Path) -> Vec<(String, String)> {
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let text = fs::read_to_string(page).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("    "));
    let words = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    words
        .filter(|word| !word.contains(' '))
        .map(|word| (name.clone(), word.to_owned()))
        .collect()
}

fn pages() -> Vec<(String, String)> {
    files(root(), "md")
        .iter()
        .flat_map(|page| quoted(page))
        .collect()
}

/// Whether a word is a path inside the repository: it starts with one of its folders.
fn is_path(word: &str) -> bool {
    let folders = [
        "src/",
        "server/",
        "protocol/",
        "tests/",
        "scripts/",
        "docs/",
        ".cargo/",
    ];
    folders.iter().any(|folder| word.starts_with(folder))
}

/// The pages that prove what they say by naming tests.
const PROVED: [&str; 3] = ["docs/DURABILITY.md", "docs/SEMANTICS.md", "docs/THREATS.md"];

/// Whether a word is the name of a test: tests are named in sentences.
fn is_test(word: &str) -> bool {
    let is_snake = word
        .chars()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    is_snake && word.matches('_').count() >= 3
}

#[test]
fn every_file_that_the_docs_name_exists() {
    let is_there = |word: &str| {
        // `src/mount/fs/tree/tests*` stands for several, `sign_test.rs:12` for a line.
        let path = word.trim_end_matches('*').split(':').next().unwrap();
        let path = root().join(path);
        path.exists()
            || word.ends_with('*') && {
                let start = path.file_name().unwrap().to_str().unwrap().to_owned();
                fs::read_dir(path.parent().unwrap()).is_ok_and(|mut entries| {
                    entries.any(|entry| {
                        entry
                            .unwrap()
                            .file_name()
                            .to_str()
                            .unwrap()
                            .starts_with(&start)
                    })
                })
            }
    };
    let missing: BTreeSet<_> = pages()
        .into_iter()
        .filter(|(_, word)| is_path(word) && !is_there(word))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_test_that_the_docs_name_exists() {
    let code: String = files(root(), "rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect::<Vec<_>>()
        .join("\n");
    let missing: BTreeSet<_> = pages()
        .into_iter()
        .filter(|(page, _)| PROVED.contains(&page.as_str()))
        .filter(|(_, word)| is_test(word) && !code.contains(&format!("fn {word}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_link_between_the_docs_leads_somewhere() {
    let mut missing = BTreeSet::new();
    for page in files(root(), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap();
            let link = link.split('#').next().unwrap();
            let is_inside = !link.is_empty() && !link.contains("://");
            if is_inside && !page.parent().unwrap().join(link).exists() {
                missing.insert(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
