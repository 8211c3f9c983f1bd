//! Names stay plain: retired terms do not come back, and a type name means one thing in a crate.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "repository/files.rs"]
mod repository;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use repository::{files, root};

/// Words of identifiers and file names that a stranger cannot find anything by, and what to say
/// instead. Words of the wire and of stored formats stay in strings, which are not read here.
const RETIRED: &[(&str, &str)] = &[
    ("afterwards", "next step"),
    ("assembly", "uploads"),
    ("beginning", "partial body"),
    ("bell", "waker, signal"),
    ("bells", "wakers, signals"),
    ("beside", "cpu affinity"),
    ("carrier", "transport"),
    ("crowd", "connection limit"),
    ("delivery", "chunked upload"),
    ("desk", "queue, context, state, registry"),
    ("door", "adapter, app state"),
    ("errand", "job, broker client"),
    ("forsake", "discard"),
    ("heed", "check"),
    ("hindrance", "blocker"),
    ("hollow", "evict"),
    ("homes", "dirs"),
    ("house", "services, installation"),
    ("lack", "incomplete reason"),
    ("lend", "passthrough"),
    ("lender", "backing broker"),
    ("lending", "passthrough helper"),
    ("lull", "batch delay"),
    ("marks", "write tracking"),
    ("mourn", "on panic"),
    ("neighbours", "downstream"),
    ("outage", "offline"),
    ("pace", "shard size, rate"),
    ("pardon", "reset backoff"),
    ("parcel", "batch"),
    ("parcels", "batches"),
    ("parting", "inode limit"),
    ("recall", "fetch"),
    ("roster", "job table"),
    ("seclusion", "exclusive guard"),
    ("shelf", "placeholder store, image directory"),
    ("shield", "TLS"),
    ("story", "error chain"),
    ("stranger", "anonymous"),
    ("tellings", "name events"),
    ("trail", "backlog"),
    ("tray", "buffer"),
    ("trays", "buffer pool"),
    ("turns", "range lock"),
    ("unspeakable", "invalid request"),
    ("vouching", "force accept"),
    ("weigh", "decide"),
    ("weighing", "disposition"),
];

/// Words of the metaphor that the repository once was told in. They leave its prose, too.
const RETIRED_IN_PROSE: &[&str] = &[
    "the house",
    "the desk",
    "the shelf",
    "the bell",
    "errand",
    "walking order",
    " rings the",
];

/// The text without comments and the content of strings.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut is_string = false;
        let mut last = ' ';
        for (at, letter) in line.char_indices() {
            if !is_string && line[at..].starts_with("//") {
                break;
            }
            if letter == '"' && last != '\\' && last != '\'' {
                is_string = !is_string;
            } else if !is_string {
                code.push(letter);
            }
            last = letter;
        }
        code.push('\n');
    }
    code
}

/// The words of an identifier: `OpenFileTable` and `open_file_table` both have three.
fn words_of(identifier: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_new = true;
    for letter in identifier.chars() {
        if letter == '_' {
            is_new = true;
            continue;
        }
        if is_new
            || letter.is_uppercase()
                && !words
                    .last()
                    .is_some_and(|word| word.chars().last().is_some_and(char::is_uppercase))
        {
            words.push(String::new());
        }
        is_new = false;
        words.last_mut().unwrap().push(letter);
    }
    words.iter().map(|word| word.to_lowercase()).collect()
}

fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with(|letter: char| letter.is_alphabetic() || letter == '_'))
}

fn retired_in(identifier: &str) -> Option<String> {
    let words = words_of(identifier);
    let (word, instead) = RETIRED
        .iter()
        .find(|(word, _)| words.iter().any(|own| own == word))?;
    Some(format!("{identifier}: instead of {word:?} say {instead}"))
}

#[test]
fn no_retired_term_is_an_identifier_or_a_file_name() {
    let mut found = Vec::new();
    for file in files(root(), "rs") {
        let place = file.strip_prefix(root()).unwrap();
        if place == Path::new("tests/vocabulary.rs") {
            continue;
        }
        let names = place
            .iter()
            .map(|part| part.to_str().unwrap().trim_end_matches(".rs"));
        let code = code_of(&fs::read_to_string(&file).unwrap());
        for name in names.chain(identifiers(&code)) {
            found.extend(retired_in(name).map(|what| format!("{}: {what}", place.display())));
        }
    }
    found.sort();
    found.dedup();
    assert!(
        found.is_empty(),
        "{} retired terms:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn no_retired_term_is_in_the_prose() {
    let mut found = Vec::new();
    for file in files(root(), "rs").into_iter().chain(files(root(), "md")) {
        let place = file.strip_prefix(root()).unwrap();
        if place == Path::new("tests/vocabulary.rs") {
            continue;
        }
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let is_prose =
                line.trim_start().starts_with("//") || place.extension().unwrap() == "md";
            let line = line.to_lowercase();
            if is_prose && RETIRED_IN_PROSE.iter().any(|words| line.contains(words)) {
                found.push(format!("{}:{}: {line}", place.display(), number + 1));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} retired terms:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn a_type_name_means_one_thing_in_a_crate() {
    for src in ["src", "server/src", "protocol/src", "protocol/support/src"] {
        let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in files(&root().join(src), "rs") {
            let place = file.strip_prefix(root()).unwrap().display().to_string();
            // The stand-in of a build without the embedded server has that one's names.
            if place.contains("tests") || place == "src/daemon/embedded_missing.rs" {
                continue;
            }
            for line in fs::read_to_string(&file).unwrap().lines() {
                // What is indented belongs to a function, a trait or a module for tests.
                if let Some(name) = defined_type(line) {
                    types
                        .entry(name.to_owned())
                        .or_default()
                        .push(place.clone());
                }
            }
        }
        types.retain(|_, places| places.len() > 1);
        assert!(types.is_empty(), "names of several types: {types:#?}");
    }
}

/// The type that a line at the top level of a file defines.
fn defined_type(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    let rest = ["struct ", "enum ", "trait ", "type "]
        .iter()
        .find_map(|keyword| rest.strip_prefix(keyword))?;
    rest.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
        .next()
}

#[test]
fn words_are_told_apart_in_either_spelling() {
    assert_eq!(words_of("open_file_table"), ["open", "file", "table"]);
    assert_eq!(words_of("OpenFileTable"), ["open", "file", "table"]);
    assert_eq!(words_of("DESK_MAX"), ["desk", "max"]);
    assert!(retired_in("IntakeDesk").is_some() && retired_in("desktop").is_none());
    assert_eq!(
        code_of("let a = \"the desk\"; // desk\nb"),
        "let a = ; \nb\n"
    );
    assert_eq!(defined_type("pub(super) struct Queue<T> {"), Some("Queue"));
    assert_eq!(defined_type("    struct Local;"), None);
}
