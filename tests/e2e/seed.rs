//! Randomness that can be repeated: where a random test begins and how long it goes on is said from
//! outside.

/// The random numbers of this test, from `HEIRLOOM_SEED` or else from a seed of their own, which is
/// printed.
pub fn seeded() -> fastrand::Rng {
    let seed = number("HEIRLOOM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("HEIRLOOM_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// How many rounds to go: `HEIRLOOM_ROUNDS`, or so many.
pub fn rounds(otherwise: usize) -> usize {
    number("HEIRLOOM_ROUNDS").map_or(otherwise, |rounds| {
        usize::try_from(rounds).expect("a number of rounds")
    })
}

/// How many small operations a long day has: `HEIRLOOM_SOAK`, or so many.
pub fn operations(otherwise: usize) -> usize {
    number("HEIRLOOM_SOAK").map_or(otherwise, |count| {
        usize::try_from(count).expect("a number of operations")
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}
