//! *Rounds*: how long a random test goes on, and from which seed; `scripts/torture` asks for more
//! of them than `scripts/test`.

/// How many rounds; where nobody asked, one.
const ROUNDS: &str = "HEIRLOOM_ROUNDS";
/// The first round's seed; where nobody asked, a new one every time.
const SEED: &str = "HEIRLOOM_SEED";

/// Calls for each round with a seed of its own, and says which: a failure is repeated with
/// `HEIRLOOM_SEED=<seed>`.
#[expect(clippy::print_stdout, reason = "whoever sees a failure needs the seed")]
pub(crate) fn each_round(mut round: impl FnMut(u64)) {
    let first = asked(SEED).unwrap_or_else(|| fastrand::u64(..));
    for number in 0..asked(ROUNDS).unwrap_or(1) {
        let seed = first.wrapping_add(number);
        println!("{SEED}={seed}");
        round(seed);
    }
}

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}
