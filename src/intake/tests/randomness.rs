//! Whatever programs do, the count is right and everything ends up promised.

use super::*;

/// So many things a round does.
const STEPS: usize = 120;

#[test]
fn the_tally_always_equals_a_recount() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut house = House::new();
    for round in 0..6 {
        for _ in 0..STEPS {
            step(&house, &mut chance);
        }
        if round % 2 == 1 {
            house.kill();
            house.open();
        }
        house.settle();
        assert_eq!(
            house.intake().tally(),
            house.recount(),
            "seed {seed}, round {round}"
        );
        if chance.bool() {
            house.back_up_all();
            assert_eq!(
                house.intake().tally(),
                house.recount(),
                "seed {seed}, round {round}"
            );
        }
    }
}

fn step(house: &House, chance: &mut fastrand::Rng) {
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
            house.write(&one, b"a letter");
        }
        0..=3 => {
            house.write(&one, &photo(&chance.u8(..).to_string()));
        }
        4 | 5 if house.place(&one).exists() && one != other => {
            fs::create_dir_all(house.place(&other).parent().unwrap()).unwrap();
            house.rename(&one, &other);
        }
        6 if house.place(&one).exists() => house.remove(&one),
        7 => {
            let (from, to) = (folder(chance), folder(chance));
            if house.place(&from).exists() && !house.place(&to).exists() {
                house.rename_folder(&from, &to);
            }
        }
        8 if house.place(&one).exists() && house.place(&other).exists() && one != other => {
            house.exchange(&one, &other);
        }
        9 => {
            let (from, to) = (folder(chance), folder(chance));
            if house.place(&from).exists() && house.place(&to).exists() && from != to {
                house.exchange(&from, &to);
            }
        }
        _ => {}
    }
    // Each is counted once; and not missed for longer than a name takes that was followed between
    // its change and the word of it.
    if chance.u8(..8) == 0 {
        let mut files = 0;
        house.spool.walk(&mut |_| files += 1);
        house.wait("every file to be counted", |house| {
            let tally = house.intake().tally();
            let counted = tally.pending.files
                + tally.backed_up.files
                + tally.local.files
                + tally.failed.files;
            assert!(
                counted <= files,
                "{counted} of {files}: {:?}",
                house.intake().inside().desk.state()
            );
            counted == files
        });
    }
}
