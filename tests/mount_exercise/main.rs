//! One file in the mount, used at random in every way that changes or shows bytes, through several
//! descriptors and a mapping, and compared with a plain array of bytes after every step (as fsx
//! does, the exerciser of Apple and the Linux kernel's tests).

#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

#[path = "../mounted/mod.rs"]
mod mounted;
mod hand;
mod step;

use fastrand::Rng;
use mounted::Mounted;
use mounted::rounds::each_round;

use hand::Hand;
use step::{SIZE_MAX, Step};

/// So many steps a round has, some seconds of them.
const STEPS: usize = 3_000;
/// After so many steps everything is closed, and the mount ends and begins anew.
const STEPS_OF_A_MOUNT: usize = 1_000;
/// So many of the last steps are told when one fails.
const TOLD: usize = 30;

#[test]
fn every_byte_is_where_it_belongs_whatever_is_done_to_a_file() {
    each_round(|seed| {
        let (mut chance, mut mounted) = (Rng::with_seed(seed), Mounted::new());
        let (mut model, mut past) = (Vec::new(), Vec::new());
        for _ in 0..STEPS / STEPS_OF_A_MOUNT {
            let mut hand = Hand::open(&mounted);
            for _ in 0..STEPS_OF_A_MOUNT {
                let step = Step::random(&mut chance, model.len());
                past.push(format!("{} bytes, then {step:?}", model.len()));
                if let Err(difference) = take(&mut hand, &mut model, &step) {
                    let past = past[past.len().saturating_sub(TOLD)..].join("\n");
                    panic!("HEIRLOOM_SEED={seed}: {difference}\nafter\n{past}");
                }
            }
            drop(hand);
            mounted.remount();
            assert!(
                std::fs::read(mounted.spooled(hand::NAME)).unwrap() == model,
                "HEIRLOOM_SEED={seed}: in the spool"
            );
        }
    });
}

/// Takes a step with the file and with the model. An error says where they differ.
fn take(hand: &mut Hand, model: &mut Vec<u8>, step: &Step) -> Result<(), String> {
    if let Some(seen) = hand
        .take(step)
        .map_err(|error| format!("refused: {error}"))?
    {
        let wanted = step.shows(model);
        same(&seen, &wanted, "what was read")?;
    }
    step.change(model);
    assert!(model.len() <= SIZE_MAX, "a step went beyond the bound");
    let size = hand.size();
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
