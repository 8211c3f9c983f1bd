//! The inode table: numbers, paths, reclaiming and memory, without a kernel.

use super::*;

const ROOT: FileId = FileId(500);

fn inodes() -> Inodes {
    Inodes::new(ROOT)
}
fn path(inodes: &Inodes, id: u64) -> Result<String, ResolveError> {
    inodes.path(FileId(id)).map(|place| match place {
        SpoolPath::Root => String::new(),
        SpoolPath::Entry(path) => path.to_string(),
    })
}

#[test]
fn a_folder_is_renamed_in_one_step_with_all_that_is_in_it() {
    let mut inodes = inodes();
    inodes
        .add_lookup(FileId(2), ROOT, "2026", Kind::Folder)
        .unwrap();
    inodes
        .add_lookup(FileId(3), FileId(2), "May", Kind::Folder)
        .unwrap();
    inodes
        .add_lookup(FileId(4), FileId(3), "a.jpg", Kind::File)
        .unwrap();
    assert_eq!(path(&inodes, 4).unwrap(), "2026/May/a.jpg");
    inodes.relink(FileId(3), ROOT, "Mai");
    assert_eq!(path(&inodes, 4).unwrap(), "Mai/a.jpg");
    assert_eq!(path(&inodes, 500).unwrap(), "");
}

#[test]
fn the_root_is_number_one_and_nothing_else_is() {
    let inodes = inodes();
    assert_eq!(inodes.ino(ROOT), Ino(1));
    for id in [1, 2, 500, u64::MAX] {
        assert_eq!(inodes.id(inodes.ino(FileId(id))), FileId(id));
    }
    assert_ne!(inodes.ino(FileId(1)), Ino(1));
}

#[test]
fn a_reused_number_gets_another_generation() {
    let mut inodes = inodes();
    let first = inodes
        .add_lookup(FileId(7), ROOT, "old", Kind::File)
        .unwrap();
    assert_eq!(
        inodes
            .add_lookup(FileId(7), ROOT, "old", Kind::File)
            .unwrap(),
        first,
        "the same file, looked up twice"
    );
    inodes.mark_deleted(FileId(7));
    assert_eq!(path(&inodes, 7), Err(ResolveError::Unlinked));
    let second = inodes
        .add_lookup(FileId(7), ROOT, "new", Kind::File)
        .unwrap();
    assert_ne!(second, first);
    inodes.forget(FileId(7), 2);
    assert_eq!(
        path(&inodes, 7).unwrap(),
        "new",
        "only the old one was forgotten"
    );
    inodes.forget(FileId(7), 1);
    assert_eq!(path(&inodes, 7), Err(ResolveError::UnknownInode));
}

#[test]
fn a_second_name_of_the_same_file_is_no_other_file() {
    let mut inodes = inodes();
    let first = inodes
        .add_lookup(FileId(7), ROOT, "one", Kind::File)
        .unwrap();
    inodes.mark_unlinked(FileId(7));
    assert_eq!(
        inodes
            .add_lookup(FileId(7), ROOT, "two", Kind::File)
            .unwrap(),
        first
    );
}

#[test]
fn a_folder_is_kept_as_long_as_the_kernel_holds_something_in_it() {
    let mut inodes = inodes();
    inodes
        .add_lookup(FileId(2), ROOT, "folder", Kind::Folder)
        .unwrap();
    inodes
        .add_lookup(FileId(3), FileId(2), "file", Kind::File)
        .unwrap();
    inodes.forget(FileId(2), 1);
    assert_eq!(path(&inodes, 3).unwrap(), "folder/file");
    inodes.forget(FileId(3), 1);
    assert_eq!(path(&inodes, 2), Err(ResolveError::UnknownInode));
    assert_eq!(inodes.by_id.len(), 1, "only the root");
}

#[test]
fn a_path_that_has_become_too_long_is_an_error() {
    let mut inodes = inodes();
    let name = "n".repeat(255);
    let mut folder = ROOT;
    for id in 1000..1017 {
        inodes
            .add_lookup(FileId(id), folder, &name, Kind::Folder)
            .unwrap();
        folder = FileId(id);
    }
    assert_eq!(path(&inodes, 1015).unwrap().len(), 16 * 256 - 1);
    assert_eq!(path(&inodes, 1016), Err(ResolveError::PathTooLong));
}

#[test]
fn a_million_photos_take_little_memory_and_free_it_again() {
    // A quarter of them, in a quarter of the memory: the tables grow by doubling, and are as full
    // then.
    let mut inodes = inodes();
    for id in 0..250_000 {
        inodes
            .add_lookup(
                FileId(1000 + id),
                ROOT,
                &format!("IMG_{id:07}.JPG"),
                Kind::File,
            )
            .unwrap();
    }
    // The index keeps a number and a byte for each of twice as many places.
    let index = inodes.by_id.capacity() / 7 * 8 * 5;
    let full = inodes.slots.len() * size_of::<Slot>() + index + inodes.names.bytes();
    assert!(full < 14 * 1024 * 1024, "{full}");
    for id in 0..250_000 {
        if id % 1000 != 0 {
            inodes.forget(FileId(1000 + id), 1);
        }
    }
    let left = inodes.slots.capacity() * size_of::<Slot>() + inodes.names.bytes();
    assert!(left < 256 * 1024, "{left}");
    assert_eq!(path(&inodes, 1000 + 249_000).unwrap(), "IMG_0249000.JPG");
}

#[test]
fn random_changes_agree_with_a_plain_model() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut inodes, mut model) = (
        inodes(),
        std::collections::HashMap::<u64, (String, u64)>::new(),
    );
    for step in 0..20_000 {
        let id = 1000 + random.u64(0..3000);
        match random.u8(0..4) {
            0 | 1 => {
                let name = format!("name {step} {}", "x".repeat(random.usize(0..40)));
                inodes
                    .add_lookup(FileId(id), ROOT, &name, Kind::File)
                    .unwrap();
                let known = model.entry(id).or_default();
                *known = (name, known.1 + 1);
            }
            2 => {
                let name = format!("moved {step}");
                inodes.relink(FileId(id), ROOT, &name);
                model.entry(id).and_modify(|known| known.0 = name);
            }
            _ => {
                if let Some((_, lookups)) = model.remove(&id) {
                    inodes.forget(FileId(id), lookups);
                }
            }
        }
    }
    for id in 1000..4000 {
        let want = model
            .get(&id)
            .map(|known| known.0.clone())
            .ok_or(ResolveError::UnknownInode);
        assert_eq!(path(&inodes, id), want);
    }
}

#[test]
fn the_oldest_files_are_reclaimed_first_and_folders_never() {
    let mut inodes = inodes();
    inodes
        .add_lookup(FileId(2), ROOT, "2026", Kind::Folder)
        .unwrap();
    for id in 10..20 {
        inodes
            .add_lookup(FileId(id), FileId(2), &format!("{id}.jpg"), Kind::File)
            .unwrap();
    }
    let ids = |chosen: Vec<(FileId, Ino, String)>| {
        chosen.into_iter().map(|(id, ..)| id.0).collect::<Vec<_>>()
    };
    assert_eq!(
        inodes.oldest(2)[..1],
        [(FileId(10), Ino(2), "10.jpg".to_owned())]
    );
    inodes.forget(FileId(10), 1);
    inodes.mark_deleted(FileId(13));
    assert_eq!(ids(inodes.oldest(4)), [12, 14, 15, 16]);
    assert_eq!(
        ids(inodes.oldest(100)),
        [17, 18, 19, 11, 12, 14, 15, 16],
        "each once"
    );
    assert_eq!(inodes.held(), 11);
}
