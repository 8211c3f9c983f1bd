//! A snapshot of a tree: everything that a program can see of it and that two equal trees have in
//! common.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The snapshot of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// File type and permissions.
    mode: u32,
    owner: (u32, u32),
    links: u64,
    modified: Mtime,
    content: Content,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// Two trees are not created in the same nanosecond: times are compared only where a step set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mtime {
    /// A time long ago that a step set, in seconds and nanoseconds.
    Set(i64, i64),
    Recent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Bytes(Vec<u8>),
    Target(String),
    Names,
}

/// Steps set times before this, in seconds: September 2020.
const RECENT: i64 = 1_600_000_000;

pub(crate) fn snapshot(root: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    add(root, "", &mut found);
    found
}

/// Removes the spool's own attributes, which the mount hides.
pub(crate) fn without_heirloom_xattrs(
    mut snapshot: BTreeMap<String, Entry>,
) -> BTreeMap<String, Entry> {
    for entry in snapshot.values_mut() {
        entry
            .attributes
            .retain(|name, _| !name.starts_with("user.heirloom."));
    }
    snapshot
}

fn add(root: &Path, below: &str, found: &mut BTreeMap<String, Entry>) {
    let path = root.join(below);
    let metadata = fs::symlink_metadata(&path).unwrap();
    let content = if metadata.is_symlink() {
        Content::Target(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
    } else if metadata.is_dir() {
        Content::Names
    } else {
        Content::Bytes(fs::read(&path).unwrap())
    };
    let modified = if metadata.mtime() < RECENT {
        Mtime::Set(metadata.mtime(), metadata.mtime_nsec())
    } else {
        Mtime::Recent
    };
    let attributes = if metadata.is_symlink() {
        BTreeMap::new()
    } else {
        attributes(&path)
    };
    let is_folder = content == Content::Names;
    let (mode, owner, links) = (
        metadata.mode(),
        (metadata.uid(), metadata.gid()),
        metadata.nlink(),
    );
    found.insert(
        below.to_owned(),
        Entry {
            mode,
            owner,
            links,
            modified,
            content,
            attributes,
        },
    );
    if is_folder {
        for entry in fs::read_dir(&path).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let below = if below.is_empty() {
                name
            } else {
                format!("{below}/{name}")
            };
            add(root, &below, found);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut buffer = vec![0; 4096];
    let size = rustix::fs::listxattr(path, &mut buffer).unwrap();
    let names = buffer[..size]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."));
    let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
    names
        .map(|name| {
            let mut value = vec![0; 4096];
            let size = rustix::fs::getxattr(path, &name, &mut value).unwrap();
            value.truncate(size);
            (name, value)
        })
        .collect()
}
