//! One file in the mount, read and changed at random in every way, through several descriptors and
//! a mapping, and compared with an array of bytes after every step (like fsx, the file system
//! exerciser of Apple and the Linux kernel's tests).

mod handles;
mod step;

use super::fixture::TestMount;
use super::fixture::rounds::each_round;
use fastrand::Rng;

use handles::OpenHandles;
use step::{SIZE_MAX, Step};

/// Steps of a round; they take some seconds.
const STEPS: usize = 3_000;
/// Steps between two remounts.
const STEPS_OF_A_MOUNT: usize = 1_000;
/// How many of the last steps are printed when one fails.
const STEPS_PRINTED: usize = 30;

#[test]
fn random_operations_on_a_file_match_an_array_of_bytes() {
    each_round(|seed| {
        let (mut random, mut mounted) = (Rng::with_seed(seed), TestMount::new());
        let (mut model, mut past) = (Vec::new(), Vec::new());
        for _ in 0..STEPS / STEPS_OF_A_MOUNT {
            let mut handles = OpenHandles::open(&mounted);
            for _ in 0..STEPS_OF_A_MOUNT {
                let step = Step::random(&mut random, model.len());
                past.push(format!("{} bytes, then {step:?}", model.len()));
                if let Err(difference) = apply(&mut handles, &mut model, &step) {
                    let past = past[past.len().saturating_sub(STEPS_PRINTED)..].join("\n");
                    panic!("HEIRLOOM_SEED={seed}: {difference}\nafter\n{past}");
                }
            }
            drop(handles);
            mounted.remount();
            assert!(
                std::fs::read(mounted.spool_path(handles::NAME)).unwrap() == model,
                "HEIRLOOM_SEED={seed}: in the spool"
            );
        }
    });
}

/// Applies a step to the file and to the model. An error says where they differ.
fn apply(handles: &mut OpenHandles, model: &mut Vec<u8>, step: &Step) -> Result<(), String> {
    if let Some(seen) = handles
        .apply(step)
        .map_err(|error| format!("refused: {error}"))?
    {
        let wanted = step.shows(model);
        same(&seen, &wanted, "what was read")?;
    }
    step.change(model);
    assert!(model.len() <= SIZE_MAX, "a step went beyond the bound");
    let size = handles.size();
    if size == model.len() {
        Ok(())
    } else {
        Err(format!("{size} bytes instead of {}", model.len()))
    }
}

fn same(seen: &[u8], wanted: &[u8], what: &str) -> Result<(), String> {
    if seen == wanted {
        return Ok(());
    }
    let at = seen
        .iter()
        .zip(wanted)
        .position(|(seen, wanted)| seen != wanted);
    let count = seen
        .iter()
        .zip(wanted)
        .filter(|(seen, wanted)| seen != wanted)
        .count();
    let there = at.map(|at| {
        (
            &seen[at..seen.len().min(at + 8)],
            &wanted[at..wanted.len().min(at + 8)],
        )
    });
    Err(format!(
        "{what}: {} for {} bytes, {count} wrong from {at:?} on: {there:?}",
        seen.len(),
        wanted.len()
    ))
}
