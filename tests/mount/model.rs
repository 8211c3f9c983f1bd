//! The mount against a reference model, a plain directory on the same disk: random operations on
//! both must have the same results and leave the same trees.
//!
//! A failure is shrunk to the shortest list of steps that still fails, and saved in
//! `model/regressions.txt`: later runs try it first.

mod descriptor_op;
mod name_op;
mod snapshot;
mod step;
mod metadata_op;
mod content_op;

use std::collections::BTreeMap;
use std::path::Path;

use super::fixture::rounds::each_round;
use super::fixture::{TestMount, with_errno};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner};

use descriptor_op::OpenFiles;
use snapshot::{snapshot, without_heirloom_xattrs};
use step::Step;

/// Lists of steps in a round.
const CASES: u32 = 100;
/// How often a failing list is made shorter, at most.
const SHRINKS_MAX: u32 = 1_000;
/// The folder in which the steps happen.
const ROOT: &str = "world";
/// Where failures are saved.
const REGRESSIONS: &str = "tests/mount/model/regressions.txt";

#[test]
fn the_mount_behaves_like_a_plain_directory() {
    each_round(|seed| {
        let mut runner = TestRunner::new(Config {
            cases: CASES,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_iters: SHRINKS_MAX,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
            ..Config::default()
        });
        if let Err(error) = runner.run(&step::list(), |steps| compare(&steps)) {
            panic!("HEIRLOOM_SEED={seed}: {error}");
        }
    });
}

/// Does the same steps in both places.
fn compare(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut mounted = TestMount::new();
    // One folder down: a link to `../b` leads into neither tree, and to a different place from
    // each.
    let (mount, model) = (mounted.path(ROOT), mounted.plain_path(ROOT));
    std::fs::create_dir(&mount).unwrap();
    std::fs::create_dir(&model).unwrap();
    let (mut open, mut open_in_model) = (OpenFiles::default(), OpenFiles::default());
    for (number, step) in steps.iter().enumerate() {
        let (seen, wanted) = (
            step.apply(&mount, &mut open),
            step.apply(&model, &mut open_in_model),
        );
        assert_equal(
            &format!("step {number}, {step:?}"),
            &with_errno(seen),
            &with_errno(wanted),
        )?;
        assert_equal(
            &format!("the trees after step {number}, {step:?}"),
            &snapshot(&mount),
            &snapshot(&model),
        )?;
    }
    drop((open, open_in_model));
    assert_equal(
        "the trees when all is closed",
        &snapshot(&mount),
        &snapshot(&model),
    )?;
    assert_equal(
        "the spool",
        &without_heirloom_xattrs(snapshot(&mounted.spool_path(ROOT))),
        &snapshot(&model),
    )?;
    let before = numbers(&mount);
    mounted.remount();
    assert_equal(
        "the tree after a remount",
        &snapshot(&mount),
        &snapshot(&model),
    )?;
    assert_equal("inode numbers after a remount", &numbers(&mount), &before)
}

fn assert_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    mount: &T,
    model: &T,
) -> Result<(), TestCaseError> {
    if mount == model {
        return Ok(());
    }
    Err(TestCaseError::fail(format!(
        "{what}: the mount has {mount:#?}, and a plain directory {model:#?}"
    )))
}

/// The inode number of every path.
fn numbers(root: &Path) -> BTreeMap<String, u64> {
    let paths = snapshot(root).into_keys();
    let number = |path: &String| {
        std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(root.join(path)).unwrap())
    };
    paths.map(|path| (path.clone(), number(&path))).collect()
}
