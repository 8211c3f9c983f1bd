//! Repeatable random tests: seed and number of rounds come from environment variables.

/// A random number generator with the seed `HEIRLOOM_SEED`, or with a random seed; the seed is
/// printed.
pub fn seeded() -> fastrand::Rng {
    let seed = number("HEIRLOOM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("HEIRLOOM_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// The number of rounds: `HEIRLOOM_ROUNDS`, or the default.
pub fn rounds(otherwise: usize) -> usize {
    number("HEIRLOOM_ROUNDS").map_or(otherwise, |rounds| {
        usize::try_from(rounds).expect("a number of rounds")
    })
}

/// The number of operations of the soak test: `HEIRLOOM_SOAK`, or the default.
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
