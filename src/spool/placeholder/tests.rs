//! Which files are placeholders, after every step.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use data_encoding::HEXLOWER;

use super::*;

const TIME_NS: i64 = 1_600_000_000_123_456_789;

fn spool() -> (Spool, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    (Spool::open(&home.path().join("spool")).unwrap(), home)
}

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

fn absent(size: u64) -> Placeholder {
    Placeholder::new(
        Fingerprint::of(b"far away"),
        Stamp {
            size,
            mtime_ns: TIME_NS,
        },
    )
}

#[test]
fn a_placeholder_looks_like_the_photo_and_takes_no_space() {
    let (spool, _home) = spool();
    spool
        .create_placeholder(&path("a.jpg"), &absent(10 << 30))
        .unwrap();
    let facts = spool
        .metadata(&super::super::SpoolPath::Entry(path("a.jpg")))
        .unwrap();
    assert_eq!(
        facts.stamp(),
        Stamp {
            size: 10 << 30,
            mtime_ns: TIME_NS
        }
    );
    assert_eq!(facts.blocks, 0, "it takes no room for bytes");
    assert_eq!(
        spool.placeholder(&path("a.jpg")).unwrap(),
        Some(absent(10 << 30))
    );
}

#[test]
fn a_photo_is_no_placeholder() {
    let (spool, _home) = spool();
    std::fs::write(spool.root().join("a.jpg"), b"photo").unwrap();
    assert_eq!(spool.placeholder(&path("a.jpg")).unwrap(), None);
}

#[test]
fn a_placeholder_never_replaces_a_file() {
    let (spool, _home) = spool();
    std::fs::write(spool.root().join("a.jpg"), b"photo").unwrap();
    let error = spool
        .create_placeholder(&path("a.jpg"), &absent(5))
        .unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(spool.root().join("a.jpg")).unwrap(), b"photo");
}

#[test]
fn an_evicted_file_keeps_its_head_its_size_and_its_time() {
    let content: Vec<u8> = (0..1_000_000_u32)
        .map(|number| number.to_le_bytes()[0] | 1)
        .collect();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&content, 0).unwrap();
    set_times(&file, &modified_at(TIME_NS)).unwrap();
    Placeholder::evict_data(&file, Fingerprint::of(&content), 65_000).unwrap();
    let found = Placeholder::of(&file).unwrap().unwrap();
    assert_eq!(found.held, RangeSet::whole(65_536), "whole blocks are kept");
    let facts = Metadata::of(&file).unwrap();
    assert_eq!(
        facts.stamp(),
        Stamp {
            size: 1_000_000,
            mtime_ns: TIME_NS
        }
    );
    assert!(
        file.metadata().unwrap().blocks() * 512 < 200_000,
        "the room is given back"
    );
    let mut head = vec![0; 65_536];
    file.read_exact_at(&mut head, 0).unwrap();
    assert_eq!(head, content[..65_536]);
    Placeholder::clear(&file).unwrap();
    assert_eq!(Placeholder::of(&file).unwrap(), None);
}

#[test]
fn a_small_photo_stays_whole_as_its_own_head() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(b"small", 0).unwrap();
    Placeholder::evict_data(&file, Fingerprint::of(b"small"), 65_536).unwrap();
    assert!(Placeholder::of(&file).unwrap().unwrap().held.covers(5));
}

#[test]
fn version_1_of_the_placeholder_attribute_is_readable() {
    let file = tempfile::tempfile().unwrap();
    let mut sparse = Placeholder::new(
        Fingerprint::of(b""),
        Stamp {
            size: 100_000,
            mtime_ns: -1,
        },
    );
    sparse.held.insert(range(0, 4096));
    sparse.held.insert(range(8192, 100_000));
    sparse.write_to(&file).unwrap();
    let encoded = "01\
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\
        ffffffffffffffff\
        a08d06\
        008020\
        8020a0cd05";
    assert_eq!(
        HEXLOWER.encode(&super::super::xattr(&file, OsStr::new(NAME)).unwrap()),
        encoded
    );
    assert_eq!(Placeholder::of(&file).unwrap(), Some(sparse));
}

#[test]
fn an_invalid_attribute_is_not_taken_for_a_complete_file() {
    let file = tempfile::tempfile().unwrap();
    let head = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855ffffffffffffffff";
    for encoded in [
        format!("02{head}05"),
        format!("01{head}"),
        format!("01{head}050006"),
        format!("01{head}050300"),
        format!("01{head}0500"),
        format!("01{head}05ffffffffffffffffff7f01"),
        "01e3b0".to_owned(),
        String::new(),
    ] {
        set_xattr(
            &file,
            OsStr::new(NAME),
            &HEXLOWER.decode(encoded.as_bytes()).unwrap(),
            0,
        )
        .unwrap();
        assert_eq!(
            Placeholder::of(&file).unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "{encoded}"
        );
    }
}

#[test]
fn with_many_local_ranges_the_attribute_stays_small_and_true() {
    let file = tempfile::tempfile().unwrap();
    let mut sparse = absent(16 << 30);
    let places = 1_000;
    for place in 0..places {
        sparse
            .held
            .insert(range(place << 20, (place << 20) + 1 + place));
    }
    sparse.write_to(&file).unwrap();
    let found = Placeholder::of(&file).unwrap().unwrap();
    assert_eq!(found.held.iter().count(), RANGES_MAX);
    assert!(
        found.held.without(&sparse.held).is_empty(),
        "nothing is said to be here that is not"
    );
    assert!(
        found
            .held
            .contains(range((places - 1) << 20, ((places - 1) << 20) + places)),
        "the largest are kept"
    );
}

#[test]
fn a_read_only_photo_becomes_a_placeholder_too() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(b"photo", 0).unwrap();
    super::super::set_mode(&file, 0o400).unwrap();
    Placeholder::evict_data(&file, Fingerprint::of(b"photo"), 0).unwrap();
    assert_eq!(Metadata::of(&file).unwrap().mode, 0o400);
    assert!(Placeholder::of(&file).unwrap().unwrap().held.is_empty());
}

#[test]
fn no_attribute_is_misread() {
    heirloom_fuzz::replay("placeholders", fuzz);
}

#[test]
fn an_attribute_with_an_impossible_size_is_invalid() {
    for (size, is_possible) in [
        (FILE_BYTES_MAX, true),
        (FILE_BYTES_MAX + 1, false),
        (u64::MAX, false),
    ] {
        let stamp = Stamp { size, mtime_ns: 0 };
        let encoded = Placeholder::new(Fingerprint::of(b"any"), stamp).encode();
        assert_eq!(
            Placeholder::decode(&encoded).is_some(),
            is_possible,
            "{size}"
        );
    }
}
