//! The mount against its model, an ordinary directory on the same disk: random operations on both,
//! of which every one must end alike, and after which both trees must be the same.
//!
//! A failure is shrunk to the shortest list of steps that still fails, and kept in
//! `regressions.txt` beside this file: it is tried first from then on.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

#[path = "../mounted/mod.rs"]
mod mounted;
mod holding;
mod naming;
mod shape;
mod step;
mod telling;
mod writing;

use std::collections::BTreeMap;
use std::path::Path;

use mounted::rounds::each_round;
use mounted::{Mounted, numbered};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner};

use holding::Slots;
use shape::{shape, without_ours};
use step::Step;

/// Lists of steps that a round tries.
const CASES: u32 = 100;
/// So often a failing list is made shorter.
const SHRINKS_MAX: u32 = 1_000;
/// The folder that the steps are taken in.
const WORLD: &str = "world";
/// Where failures are kept.
const REGRESSIONS: &str = "tests/mount_model/regressions.txt";

#[test]
fn the_mount_does_what_a_plain_directory_does() {
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

/// Does the same in both places.
fn compare(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut mounted = Mounted::new();
    // One folder down: a link to `../b` leads to neither tree, and from each to another place.
    let (mount, model) = (mounted.at(WORLD), mounted.plain(WORLD));
    std::fs::create_dir(&mount).unwrap();
    std::fs::create_dir(&model).unwrap();
    let (mut open, mut open_in_model) = (Slots::default(), Slots::default());
    for (number, step) in steps.iter().enumerate() {
        let (seen, wanted) = (
            step.take(&mount, &mut open),
            step.take(&model, &mut open_in_model),
        );
        must_agree(
            &format!("step {number}, {step:?}"),
            &numbered(seen),
            &numbered(wanted),
        )?;
        must_agree(
            &format!("the trees after step {number}, {step:?}"),
            &shape(&mount),
            &shape(&model),
        )?;
    }
    drop((open, open_in_model));
    must_agree(
        "the trees when all is closed",
        &shape(&mount),
        &shape(&model),
    )?;
    must_agree(
        "the spool",
        &without_ours(shape(&mounted.spooled(WORLD))),
        &shape(&model),
    )?;
    let before = numbers(&mount);
    mounted.remount();
    must_agree("the tree after a remount", &shape(&mount), &shape(&model))?;
    must_agree("inode numbers after a remount", &numbers(&mount), &before)
}

fn must_agree<T: PartialEq + std::fmt::Debug>(
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
    let paths = shape(root).into_keys();
    let number = |path: &String| {
        std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(root.join(path)).unwrap())
    };
    paths.map(|path| (path.clone(), number(&path))).collect()
}
