//! Checks that modules are layers: a module names only modules that its parent lists below it.
//!
//! The list is the order of `mod` lines in the parent's file. The check reads source text, not
//! types: every path that starts with `crate::` or `super::` counts, in a `use` or elsewhere.
//! Comments and modules compiled for tests alone may name anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path from the crate's root; the root itself is empty.
type ModulePath = Vec<String>;

/// Every place where a module of the crate in `src` names one above it, one sentence each. Inside
/// the modules `strict` this holds for files at any depth, and a file may not name its parent's own
/// items either: a parent is above all its children.
pub(crate) fn violations(src: &Path, strict: &[&str]) -> Vec<String> {
    let sources = sources(src);
    let children: BTreeMap<_, _> = sources
        .iter()
        .map(|source| (source.module.clone(), children(&source.text)))
        .collect();
    assert!(children[&Vec::new()].len() > 1, "lib.rs lists no modules");
    for name in strict {
        let listed = children.get(&vec![(*name).to_owned()]);
        assert!(
            listed.is_some_and(|listed| listed.len() > 1),
            "{name} is no module with parts"
        );
    }
    let mut found = Vec::new();
    for source in &sources {
        for named in named(source) {
            if let Some(what) = violation(&source.module, &named, &children, strict) {
                found.push(format!("{} names {what}", source.file.display()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What is wrong with `module` naming the path `named`, if anything.
fn violation(
    module: &[String],
    named: &[String],
    children: &BTreeMap<ModulePath, Vec<String>>,
    strict: &[&str],
) -> Option<String> {
    let shared = module
        .iter()
        .zip(named)
        .take_while(|(own, other)| own == other)
        .count();
    if shared > 0 && !strict.contains(&module[0].as_str()) {
        return None;
    }
    // A module may name its own parts.
    let own = module.get(shared)?;
    let siblings = children.get(&module[..shared])?;
    let own_place = siblings.iter().position(|name| name == own)?;
    let whole = || named.join("::");
    let Some(other) = named.get(shared) else {
        return (shared == 0).then(|| "the whole crate".to_owned());
    };
    if let Some(other_place) = siblings.iter().position(|name| name == other) {
        (other_place < own_place).then(|| format!("{}, which is listed above {own}", whole()))
    } else {
        let is_everything = other == "*" && shared == 0;
        (shared > 0 || is_everything).then(|| format!("{}, which its parent defines", whole()))
    }
}

struct Source {
    file: PathBuf,
    module: ModulePath,
    /// Without comments.
    text: String,
}

/// The production sources of a crate: neither its programs nor modules for tests.
fn sources(src: &Path) -> Vec<Source> {
    let sources = files(src).into_iter().filter_map(|file| {
        let module = module_of(src, &file)?;
        let text = without_comments(&fs::read_to_string(&file).unwrap());
        Some(Source { file, module, text })
    });
    sources.collect()
}

/// The Rust files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The module that a file is; `None` for programs and tests.
fn module_of(src: &Path, file: &Path) -> Option<ModulePath> {
    let inside = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<_> = inside
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    let is_program = matches!(parts[0].as_str(), "main" | "bin");
    let is_test = parts
        .iter()
        .any(|part| part == "tests" || part.ends_with("_tests"));
    if is_program || is_test {
        return None;
    }
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    Some(parts)
}

/// The modules that a file lists, from the top down.
fn children(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let rest = match line.strip_prefix("pub") {
            // `pub(crate) mod`, `pub mod`
            Some(rest) => rest.find(" mod ").map_or("", |at| &rest[at + 1..]),
            None => line,
        };
        if let Some(name) = rest
            .strip_prefix("mod ")
            .and_then(|name| name.strip_suffix(';'))
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The paths from the crate's root that a source names.
fn named(source: &Source) -> Vec<ModulePath> {
    let mut named = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in source.text.match_indices(start) {
            let before = &source.text[..at];
            // The later links of `super::super::` are read with the first, `$crate` is a macro's.
            let is_inside_path = before.ends_with("super::")
                || before.ends_with(|last: char| last.is_alphanumeric() || "_$".contains(last));
            if is_inside_path {
                continue;
            }
            // A path in an inline module, which is for tests, starts deeper than its file.
            if is_in_inline_module(before) {
                continue;
            }
            let mut rest = &source.text[at..];
            let mut base = source.module.clone();
            while let Some(higher) = rest.strip_prefix("super::") {
                rest = higher;
                base.pop();
            }
            if let Some(absolute) = rest.strip_prefix("crate::") {
                rest = absolute;
                base.clear();
            }
            expand(&base, rest, &mut named);
        }
    }
    named
}

/// Whether the text up to here has opened an inline module: `mod name {` at the start of a line.
fn is_in_inline_module(before: &str) -> bool {
    let opened = before.lines().rev().find_map(|line| {
        if line == "}" {
            return Some(false);
        }
        let is_module = line.starts_with("mod ") || line.starts_with("pub(super) mod ");
        (is_module && line.ends_with('{')).then_some(true)
    });
    opened.unwrap_or(false)
}

/// Adds the paths that `text` begins with, below `base`: one, or as many as a group has.
fn expand(base: &[String], text: &str, paths: &mut Vec<ModulePath>) {
    let mut path = base.to_vec();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            for part in parts(group) {
                expand(&path, part, paths);
            }
            return;
        }
        let end = rest
            .find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '*'))
            .unwrap_or(rest.len());
        // `self` in a group is the group's own path.
        if &rest[..end] != "self" {
            path.push(rest[..end].to_owned());
        }
        match rest[end..].strip_prefix("::") {
            Some(deeper) => rest = deeper,
            None => return paths.push(path),
        }
    }
}

/// The parts of a group of paths, which ends at its closing brace.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                if !group[begin..at].trim().is_empty() {
                    parts.push(&group[begin..at]);
                }
                begin = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    parts
}

fn without_comments(text: &str) -> String {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The crate `attic -> hall -> cellar`, and in the hall `door -> floor`.
    fn violations_of(module: &str, text: &str) -> Vec<String> {
        let source = Source {
            file: PathBuf::from("source.rs"),
            module: module.split("::").map(str::to_owned).collect(),
            text: without_comments(text),
        };
        let list = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let children = BTreeMap::from([
            (Vec::new(), list("attic hall cellar")),
            (list("hall"), list("door floor")),
        ]);
        let paths = named(&source);
        paths
            .iter()
            .filter_map(|path| violation(&source.module, path, &children, &["hall"]))
            .collect()
    }

    #[test]
    fn a_path_upwards_is_found() {
        for (module, wrong) in [
            ("hall", "use crate::attic::Trunk;"),
            ("hall", "use super::attic::Trunk;"),
            ("hall::door", "use super::super::attic;"),
            ("hall::door", "fn climb() -> crate::attic::Trunk {}"),
            ("hall", "use crate::{cellar, attic::{Trunk, Beam}};"),
            (
                "hall",
                "use crate::{\n    cellar::{Coal, Wine},\n    attic,\n};",
            ),
            ("hall::door", "use crate::*;"),
            ("hall", "use super::*;"),
            ("hall::floor", "use super::door::Knob;"),
            ("hall::floor", "use crate::hall::door::Knob;"),
            ("hall::floor", "use super::{door};"),
            ("hall::floor", "use super::Carpet;"),
            ("hall::floor::board", "use super::super::door;"),
            ("hall::floor::board", "use crate::hall::Carpet;"),
        ] {
            assert!(
                !violations_of(module, wrong).is_empty(),
                "{module}: {wrong}"
            );
        }
    }

    #[test]
    fn a_path_downwards_is_allowed() {
        for (module, right) in [
            ("hall", "use crate::cellar::Coal;\nuse crate::hall;"),
            (
                "hall",
                "// crate::attic is above us\n    /// [`crate::attic`]",
            ),
            ("hall::door", "use super::floor::Board;"),
            ("hall::door", "use crate::{cellar, hall::{floor}};"),
            ("hall", "use crate::attics;"),
            ("hall::floor", "mod tests {\n    use super::super::door;\n}"),
            ("hall", "pub(crate) fn attic() {}"),
            ("hall::floor", "use super::floor::{self, Board};"),
            ("attic", "use crate::{hall, cellar};"),
            // Inside `cellar`, which is not strict, a part may use what its parent defines.
            ("cellar::shaft", "use super::Coal;"),
        ] {
            assert_eq!(
                violations_of(module, right),
                Vec::<String>::new(),
                "{module}: {right}"
            );
        }
    }

    #[test]
    fn modules_are_listed_in_the_order_of_their_lines() {
        let text = "pub mod attic;\npub(crate) mod hall;\nmod cellar;\n    mod inner;\nmod tests {";
        assert_eq!(children(text), ["attic", "hall", "cellar"]);
    }
}
