//! Bytes of a file in the mount, changed in every way that Linux offers, end as in a plain
//! directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::fixture::mapping::Mapping;
use super::fixture::{TestMount, with_errno};
use heirloom::spool::{WriteState, WriteStateMarker};
use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, seek};

fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true);
    options
}

/// A pattern of `count` bytes in which neighbouring bytes differ.
fn pattern(count: u32) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn appended_bytes_come_after_whatever_is_there() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("log");
        let append = |read| {
            File::options()
                .read(read)
                .append(true)
                .create(true)
                .open(&path)
                .unwrap()
        };
        let (mut one, mut two) = (append(false), append(true));
        one.write_all(b"one ").unwrap();
        two.write_all(b"two ").unwrap();
        // Linux appends even a write at an offset (pwrite(2), BUGS).
        one.write_all_at(b"at 0 ", 0).unwrap();
        options()
            .open(&path)
            .unwrap()
            .write_all_at(b"ONE", 0)
            .unwrap();
        one.set_len(8).unwrap();
        two.write_all(b"more").unwrap();
        let mut after = String::new();
        two.read_to_string(&mut after).unwrap();
        (
            fs::read_to_string(&path).unwrap(),
            after,
            two.stream_position().unwrap(),
        )
    });
    assert_eq!(seen, ("ONE two more".to_owned(), String::new(), 12));
}

#[test]
fn a_file_truncated_and_extended_again_ends_in_zeros() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let file = options().open(root.join("a.bin")).unwrap();
        file.write_all_at(&pattern(10_000), 0).unwrap();
        // Read first, so that the removed bytes are in the page cache.
        fs::read(root.join("a.bin")).unwrap();
        file.set_len(4_100).unwrap();
        file.set_len(9_000).unwrap();
        rustix::fs::ftruncate(&file, 9_001).unwrap();
        let read_only = File::open(root.join("a.bin")).unwrap();
        assert_eq!(
            with_errno(rustix::fs::ftruncate(&read_only, 1)),
            Err(libc::EINVAL)
        );
        (
            fs::read(root.join("a.bin")).unwrap(),
            file.metadata().unwrap().len(),
        )
    });
    assert!(
        seen.1 == 9_001
            && seen.0[..4_100] == pattern(4_100)
            && seen.0[4_100..].iter().all(|byte| *byte == 0)
    );
}

#[test]
fn a_write_past_the_end_leaves_a_hole_before_it() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let file = options().open(root.join("sparse")).unwrap();
        file.write_all_at(b"far", 40 << 20).unwrap();
        let mut before = [1; 5];
        file.read_exact_at(&mut before, (40 << 20) - 5).unwrap();
        let facts = file.metadata().unwrap();
        (before, facts.len(), facts.blocks() < 1000)
    });
    assert_eq!(seen, ([0; 5], (40 << 20) + 3, true));
}

#[test]
fn a_write_in_place_changes_only_its_own_bytes() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("a.bin");
        fs::write(&path, pattern(20_000)).unwrap();
        let write_only = File::options().write(true).open(&path).unwrap();
        write_only.write_all_at(b"through a writer", 4_090).unwrap();
        options()
            .open(&path)
            .unwrap()
            .write_all_at(b"through the cache", 12_280)
            .unwrap();
        let mut byte = [0];
        assert_eq!(
            with_errno(write_only.read_at(&mut byte, 0)),
            Err(libc::EBADF)
        );
        assert_eq!(
            with_errno(File::open(&path).unwrap().write_at(&byte, 0)),
            Err(libc::EBADF)
        );
        fs::read(&path).unwrap()
    });
    let mut wanted = pattern(20_000);
    wanted[4_090..][..16].copy_from_slice(b"through a writer");
    wanted[12_280..][..17].copy_from_slice(b"through the cache");
    assert!(seen == wanted);
}

#[test]
fn a_write_beyond_the_largest_offset_is_refused() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let file = options().open(root.join("a.bin")).unwrap();
        assert_eq!(with_errno(file.write_at(b"1", 1 << 62)), Err(libc::EFBIG));
        let last = with_errno(file.write_at(b"1", u64::MAX >> 1));
        (
            last,
            with_errno(file.set_len(1 << 62)),
            file.metadata().unwrap().len(),
        )
    });
    assert_eq!(seen, (Err(libc::EINVAL), Err(libc::EFBIG), 0));
}

#[test]
fn mapped_writes_and_ordinary_writes_see_each_other() {
    let mounted = TestMount::new();
    for root in [mounted.plain_path(""), mounted.path("")] {
        let path = root.join("a.bin");
        fs::write(&path, pattern(10_000)).unwrap();
        let (one, two) = (
            options().open(&path).unwrap(),
            options().open(&path).unwrap(),
        );
        let (first, second) = (
            Mapping::of(&one, 10_000).unwrap(),
            Mapping::of(&two, 10_000).unwrap(),
        );
        first.write(5_000, b"mapped");
        assert_eq!(second.read(5_000, 6), b"mapped", "another mapping");
        let mut bytes = [0; 6];
        two.read_exact_at(&mut bytes, 5_000).unwrap();
        assert_eq!(&bytes, b"mapped", "a read");
        one.write_all_at(b"written", 8_190).unwrap();
        assert_eq!(
            first.read(8_190, 7),
            b"written",
            "a write through the cache"
        );
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(b"direct", 5_003)
            .unwrap();
        assert_eq!(
            second.read(5_000, 9),
            b"mapdirect",
            "a write past the cache"
        );
        first.sync().unwrap();
        assert_eq!(&fs::read(&path).unwrap()[5_000..5_009], b"mapdirect");
    }
    assert_eq!(
        &fs::read(mounted.spool_path("a.bin")).unwrap()[8_190..8_197],
        b"written"
    );
}

#[test]
fn a_mapping_outlives_its_descriptor_and_keeps_its_file_incomplete() {
    let mounted = TestMount::new();
    fs::write(mounted.path("a.bin"), pattern(8_192)).unwrap();
    mounted.events_until("written a.bin");
    let file = options().open(mounted.path("a.bin")).unwrap();
    let mapping = Mapping::of(&file, 8_192).unwrap();
    drop(file);
    mapping.write(100, b"late");
    mapping.sync().unwrap();
    assert_eq!(
        &fs::read(mounted.spool_path("a.bin")).unwrap()[100..104],
        b"late"
    );
    // With passthrough, only the close of the descriptor reaches the mount.
    let written = mounted
        .events_until_count("writing a.bin", 2)
        .iter()
        .filter(|note| *note == "written a.bin")
        .count();
    let spooled = File::open(mounted.spool_path("a.bin")).unwrap();
    let write_state = WriteStateMarker::of_this_boot()
        .unwrap()
        .write_state(&spooled)
        .unwrap();
    assert!(
        written == 1 || write_state == WriteState::InUse,
        "{written} {write_state:?}"
    );
    drop(mapping);
    mounted.events_until_count("written a.bin", 2);
    let mark = super::fixture::xattr(&mounted.spool_path("a.bin"), "user.heirloom.mark");
    assert!(
        !mark.as_ref().is_ok_and(|mark| mark.starts_with("1 open ")),
        "{mark:?}"
    );
}

#[test]
fn fallocate_allocates_punches_and_zeroes_as_on_the_disk() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("a.bin");
        let file = options().open(&path).unwrap();
        file.write_all_at(&pattern(40_000), 0).unwrap();
        fs::read(&path).unwrap();
        let space = |flags, at, count| with_errno(fallocate(&file, flags, at, count));
        let keep = FallocateFlags::KEEP_SIZE;
        space(keep, 0, 1 << 20).unwrap();
        let kept = (
            file.metadata().unwrap().len(),
            file.metadata().unwrap().blocks() >= 2048,
        );
        space(FallocateFlags::PUNCH_HOLE | keep, 5_000, 20_000).unwrap();
        space(FallocateFlags::ZERO_RANGE | keep, 39_000, 5_000).unwrap();
        let same_size = file.metadata().unwrap().len();
        space(FallocateFlags::empty(), 30_000, 20_000).unwrap();
        let refused = [
            space(FallocateFlags::PUNCH_HOLE, 0, 1),
            space(keep, 0, 0),
            space(keep, 1 << 62, 1),
        ];
        let read_only = File::open(&path).unwrap();
        assert_eq!(
            with_errno(fallocate(&read_only, keep, 0, 1)),
            Err(libc::EBADF)
        );
        (kept, same_size, refused, fs::read(&path).unwrap())
    });
    let mut wanted = pattern(40_000);
    wanted[5_000..25_000].fill(0);
    wanted[39_000..].fill(0);
    wanted.resize(50_000, 0);
    assert_eq!((seen.0, seen.1), ((40_000, true), 40_000));
    assert!(seen.3 == wanted);
}

#[test]
fn a_punched_hole_is_seen_by_every_reader_at_once() {
    let mounted = TestMount::new();
    let path = mounted.path("a.bin");
    fs::write(&path, pattern(20_000)).unwrap();
    let reader = options().open(&path).unwrap();
    let mapping = Mapping::of(&reader, 20_000).unwrap();
    assert_eq!(mapping.read(8_192, 3), pattern(20_000)[8_192..8_195]);
    let writer = File::options().write(true).open(&path).unwrap();
    fallocate(
        &writer,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        8_000,
        1_000,
    )
    .unwrap();
    assert_eq!(mapping.read(8_192, 3), [0; 3]);
    let mut bytes = [1; 3];
    reader.read_exact_at(&mut bytes, 8_997).unwrap();
    assert_eq!(bytes, [0; 3]);
}

#[test]
fn holes_and_data_are_found_where_the_disk_has_them() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let file = options().open(root.join("sparse")).unwrap();
        for at in [1 << 20, 5 << 20] {
            file.write_all_at(&[1; 4096], at).unwrap();
        }
        file.set_len(8 << 20).unwrap();
        file.sync_all().unwrap();
        let find = |from| with_errno(seek(&file, from));
        let (data, hole) = (|at| find(SeekFrom::Data(at)), |at| find(SeekFrom::Hole(at)));
        [
            data(0),
            hole(0),
            hole(1 << 20),
            data(2 << 20),
            data(6 << 20),
            hole(6 << 20),
            hole(8 << 20),
            data(u64::MAX >> 1),
        ]
    });
    let (data, after, gone) = (Ok(1 << 20), Ok((1 << 20) + 4096), Err(libc::ENXIO));
    assert_eq!(
        seen,
        [
            data,
            Ok(0),
            after,
            Ok(5 << 20),
            gone,
            Ok(6 << 20),
            gone,
            gone
        ]
    );
}

#[test]
fn a_range_is_copied_between_files_and_within_one() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        fs::write(root.join("from"), pattern(300_000)).unwrap();
        let (from, to) = (
            File::open(root.join("from")).unwrap(),
            options().open(root.join("to")).unwrap(),
        );
        let (mut at, mut put) = (1_000, 5);
        let copied = with_errno(copy_file_range(
            &from,
            Some(&mut at),
            &to,
            Some(&mut put),
            250_000,
        ));
        let past_the_end = with_errno(copy_file_range(
            &from,
            Some(&mut 300_000),
            &to,
            Some(&mut 0),
            10,
        ));
        let short = with_errno(copy_file_range(
            &from,
            Some(&mut 299_990),
            &to,
            Some(&mut 0),
            100,
        ));
        let overlap = with_errno(copy_file_range(&to, Some(&mut 0), &to, Some(&mut 10), 100));
        let within = with_errno(copy_file_range(
            &to,
            Some(&mut 0),
            &to,
            Some(&mut 400_000),
            100,
        ));
        let appending = File::options().append(true).open(root.join("to")).unwrap();
        let refused = with_errno(copy_file_range(&from, None, &appending, None, 10));
        (
            (copied, at, put),
            [past_the_end, short, overlap, within, refused],
            fs::read(root.join("to")).unwrap(),
        )
    });
    assert_eq!(seen.0, (Ok(250_000), 251_000, 250_005));
    assert_eq!(
        seen.1,
        [Ok(0), Ok(10), Err(libc::EINVAL), Ok(100), Err(libc::EBADF)]
    );
    assert!(seen.2[10..250_005] == pattern(300_000)[1_005..251_000]);
}

#[test]
fn programs_that_copy_in_the_kernel_copy_whole_files_in_and_out() {
    let mounted = TestMount::new();
    fs::write(mounted.plain_path("a.bin"), pattern(3_000_001)).unwrap();
    // From another file system: the kernel refuses copy_file_range, and programs copy in another
    // way.
    fs::copy(mounted.plain_path("a.bin"), mounted.path("a.bin")).unwrap();
    fs::copy(mounted.path("a.bin"), mounted.path("b.bin")).unwrap();
    fs::copy(mounted.path("b.bin"), mounted.plain_path("b.bin")).unwrap();
    assert!(fs::read(mounted.plain_path("b.bin")).unwrap() == pattern(3_000_001));
}

#[test]
fn an_open_is_released_once_however_often_it_was_duplicated() {
    let mounted = TestMount::new();
    let path = mounted.path("a.bin");
    let files: Vec<File> = (0..5).map(|_| options().open(&path).unwrap()).collect();
    let copies: Vec<File> = files.iter().map(|file| file.try_clone().unwrap()).collect();
    for (at, file) in (0_u8..).zip(&files) {
        file.write_all_at(&[at + 1], at.into()).unwrap();
    }
    drop(files);
    for (at, copy) in (5_u8..).zip(&copies) {
        copy.write_all_at(&[at + 6], at.into()).unwrap();
    }
    let reader = File::open(&path).unwrap();
    drop(copies);
    let notes = mounted.events_until_count("written a.bin", 5);
    assert_eq!(
        notes.iter().filter(|note| *note == "writing a.bin").count(),
        5
    );
    drop(reader);
    fs::write(mounted.path("last"), "").unwrap();
    let notes = mounted.events_until("written last");
    assert_eq!(
        notes.iter().filter(|note| *note == "written a.bin").count(),
        5,
        "{notes:?}"
    );
    assert_eq!(
        fs::read(&path).unwrap(),
        [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]
    );
}

#[test]
fn an_open_removed_file_can_be_used_in_every_way() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("a.bin");
        let file = options().open(&path).unwrap();
        file.write_all_at(&pattern(10_000), 0).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another under its name").unwrap();
        let mapping = Mapping::of(&file, 10_000).unwrap();
        mapping.write(10, b"mapped");
        mapping.sync().unwrap();
        fallocate(
            &file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            0,
            5,
        )
        .unwrap();
        let again = File::options()
            .append(true)
            .open(through_proc(&file))
            .unwrap();
        (&again).write_all(b"end").unwrap();
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        rustix::fs::fsetxattr(&file, "user.note", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        let mut bytes = vec![0; 20_000];
        let count = file.read_at(&mut bytes, 0).unwrap();
        let facts = file.metadata().unwrap();
        (
            bytes[..count].to_vec(),
            facts.mode(),
            facts.nlink(),
            fs::read_to_string(&path).unwrap(),
        )
    });
    assert_eq!(
        (seen.0.len(), seen.1 & 0o777, seen.2, seen.3.as_str()),
        (10_003, 0o600, 0, "another under its name")
    );
    assert_eq!(seen.0[..16], *b"\0\0\0\0\0\x05\x06\x07\x08\x09mapped");
}

fn through_proc(file: &File) -> std::path::PathBuf {
    Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(file).to_string())
}

#[test]
fn truncation_by_open_is_seen_by_other_descriptors() {
    let seen = TestMount::new().assert_like_plain_directory(|root| {
        let path = root.join("a.bin");
        fs::write(&path, pattern(9_000)).unwrap();
        let reader = options().open(&path).unwrap();
        let mut byte = [0];
        reader.read_exact_at(&mut byte, 100).unwrap();
        File::options()
            .write(true)
            .custom_flags(libc::O_TRUNC)
            .open(&path)
            .unwrap()
            .write_all_at(b"x", 200)
            .unwrap();
        reader.read_exact_at(&mut byte, 100).unwrap();
        (byte, reader.metadata().unwrap().len())
    });
    assert_eq!(seen, ([0], 201));
}
