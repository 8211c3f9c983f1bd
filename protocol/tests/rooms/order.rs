//! The order of rooms: `lib.rs` lists them in walking order, and a room names only rooms below it.
//!
//! Reads source text, not types: whoever writes `crate::room`, `super::room` or a group of them
//! names the room. Comments may speak of any room.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms that `lib.rs` lists, first to last.
pub(crate) fn rooms(lib: &str) -> Vec<String> {
    let listed = lib.lines().filter_map(|line| {
        line.strip_prefix("pub mod ")
            .or_else(|| line.strip_prefix("mod "))
    });
    listed
        .filter_map(|rest| rest.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// Every place in a crate's sources where a room names one above it, in words.
pub(crate) fn wrong_turns(src: &Path) -> Vec<String> {
    let rooms = rooms(&fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(rooms.len() > 1, "lib.rs lists no rooms");
    let files = sources(src);
    for room in &rooms {
        assert!(
            files.iter().any(|file| room_of(src, file).0 == *room),
            "the room {room} has no file"
        );
    }
    let turns = files.iter().flat_map(|file| {
        let (room, depth) = room_of(src, file);
        let wrong = rooms_above(&rooms, &room, depth, &fs::read_to_string(file).unwrap());
        wrong
            .into_iter()
            .map(|above| format!("{} names {above}", file.display()))
            .collect::<Vec<_>>()
    });
    turns.collect()
}

/// The rooms above `room` that `text` names; the text is that of a file `depth` modules below the
/// crate.
pub(crate) fn rooms_above(rooms: &[String], room: &str, depth: usize, text: &str) -> Vec<String> {
    let Some(own) = rooms.iter().position(|other| other == room) else {
        return Vec::new();
    };
    let above = |name: &String| name == "*" || rooms[..own].contains(name);
    named(&without_comments(text), depth)
        .into_iter()
        .filter(above)
        .collect()
}

/// The first names behind every path that starts at the crate; `*` for all of them.
fn named(text: &str, depth: usize) -> Vec<String> {
    let mut names = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = &text[..at];
            // The later links of a chain `super::super::` are counted with its first.
            if before.ends_with("super::")
                || before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
            {
                continue;
            }
            let mut rest = &text[at..];
            let mut climbed = 0;
            while let Some(higher) = rest.strip_prefix("super::") {
                rest = higher;
                climbed += 1;
            }
            match rest.strip_prefix("crate::") {
                Some(behind) => names.extend(heads(behind)),
                None if climbed >= depth + inner_modules(before) => names.extend(heads(rest)),
                None => {}
            }
        }
    }
    names
}

/// How many modules deeper than its file a path stands: an indented `use` is taken to stand in an
/// inline module.
fn inner_modules(before: &str) -> usize {
    let line = before.rsplit('\n').next().unwrap_or(before);
    usize::from(line.starts_with(' ') && line.trim_start().starts_with("use "))
}

/// The first name of a path, or of each path in a group.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![head(path)];
    };
    let (mut depth, mut heads, mut begin) = (0, Vec::new(), 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                heads.push(head(&group[begin..at]));
                begin = at + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> String {
    let path = path.trim_start();
    let end = path.find(|character: char| {
        !(character.is_alphanumeric() || character == '_' || character == '*')
    });
    path[..end.unwrap_or(path.len())].to_owned()
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The room that a file belongs to, and how many modules below the crate it is.
fn room_of(src: &Path, file: &Path) -> (String, usize) {
    let inside = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<_> = inside
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_wrong_turn_is_seen() {
    let rooms = rooms("/// Caption.\npub mod attic;\npub mod hall;\npub mod cellar;\n");
    for (depth, wrong) in [
        (1, "use crate::attic::Trunk;"),
        (1, "use super::attic::Trunk;"),
        (2, "use super::super::attic;"),
        (2, "fn climb() -> crate::attic::Trunk {}"),
        (1, "use crate::{cellar, attic::{Trunk, Beam}};"),
        (1, "use crate::{\n    cellar::{Coal, Wine},\n    attic,\n};"),
        (1, "mod tests {\n    use super::super::attic;\n}"),
        (2, "use crate::*;"),
        (1, "use super::*;"),
    ] {
        assert_eq!(
            rooms_above(&rooms, "hall", depth, wrong).len(),
            1,
            "{wrong}"
        );
    }
}

#[test]
fn a_right_turn_is_not_held_against_anybody() {
    let rooms = rooms("pub mod attic;\npub mod hall;\npub mod cellar;\n");
    for (depth, right) in [
        (1, "use crate::cellar::Coal;\nuse crate::hall;"),
        (1, "// crate::attic is above us\n    /// [`crate::attic`]"),
        // In `hall/part.rs`, `super` is the hall: its own cupboard may have the attic's name.
        (2, "use super::attic::Box;"),
        (1, "use crate::{cellar, hall::{attic}};"),
        (1, "use crate::attics;"),
        (1, "mod tests {\n    use super::*;\n}"),
        (1, "pub(crate) fn attic() {}"),
    ] {
        assert_eq!(
            rooms_above(&rooms, "hall", depth, right),
            Vec::<String>::new(),
            "{right}"
        );
    }
    assert!(rooms_above(&rooms, "attic", 1, "use crate::{hall, cellar};").is_empty());
    assert_eq!(
        rooms_above(&rooms, "cellar", 1, "use crate::{hall, attic};").len(),
        2
    );
}
