//! Random operations of programs: the counts are right, and every photo ends up queued.

use super::*;

/// Operations in one round.
const STEPS: usize = 120;

#[test]
fn the_tally_always_equals_a_recount() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut fixture = Fixture::new();
    for round in 0..6 {
        for _ in 0..STEPS {
            step(&fixture, &mut chance);
        }
        if round % 2 == 1 {
            fixture.kill();
            fixture.open();
        }
        fixture.settle();
        assert_eq!(
            fixture.intake().tally(),
            fixture.recount(),
            "seed {seed}, round {round}"
        );
        if chance.bool() {
            fixture.back_up_all();
            assert_eq!(
                fixture.intake().tally(),
                fixture.recount(),
                "seed {seed}, round {round}"
            );
        }
    }
}

fn step(fixture: &Fixture, chance: &mut fastrand::Rng) {
    let folder = |chance: &mut fastrand::Rng| ["a", "b", "c"][chance.usize(..3)].to_owned();
    let name = |chance: &mut fastrand::Rng| {
        let ends = ["jpg", "jpg", "txt", "jpg.part"];
        format!(
            "{}/{}.{}",
            folder(chance),
            chance.u8(..8),
            ends[chance.usize(..4)]
        )
    };
    let (one, other) = (name(chance), name(chance));
    match chance.u8(..10) {
        0..=3 if chance.u8(..4) == 0 => {
            fixture.write(&one, b"a letter");
        }
        0..=3 => {
            fixture.write(&one, &photo(&chance.u8(..).to_string()));
        }
        4 | 5 if fixture.place(&one).exists() && one != other => {
            fs::create_dir_all(fixture.place(&other).parent().unwrap()).unwrap();
            fixture.rename(&one, &other);
        }
        6 if fixture.place(&one).exists() => fixture.remove(&one),
        7 => {
            let (from, to) = (folder(chance), folder(chance));
            if fixture.place(&from).exists() && !fixture.place(&to).exists() {
                fixture.rename_folder(&from, &to);
            }
        }
        8 if fixture.place(&one).exists() && fixture.place(&other).exists() && one != other => {
            fixture.exchange(&one, &other);
        }
        9 => {
            let (from, to) = (folder(chance), folder(chance));
            if fixture.place(&from).exists() && fixture.place(&to).exists() && from != to {
                fixture.exchange(&from, &to);
            }
        }
        _ => {}
    }
    // Each is counted once; and not missed for longer than a name takes that was followed between
    // its change and the word of it.
    if chance.u8(..8) == 0 {
        let mut files = 0;
        fixture.spool.walk(&mut |_| files += 1);
        fixture.wait("every file to be counted", |fixture| {
            let tally = fixture.intake().tally();
            let counted = tally.pending.files
                + tally.backed_up.files
                + tally.local.files
                + tally.failed.files;
            assert!(
                counted <= files,
                "{counted} of {files}: {:?}",
                fixture.intake().context().queue.state()
            );
            counted == files
        });
    }
}
