//! *Replay*: the corpus of a trial, and random changes to it, without libFuzzer.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// Changed examples of one replay.
const CHANGED: usize = 4_000;

/// Changes to one example, at most.
const CHANGES_MAX: usize = 6;

/// No example grows beyond this, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// What numbers are often wrong about.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    u64::MAX,
];

/// Says what made a trial panic.
struct Witness<'bytes> {
    target: &'bytes str,
    seed: u64,
    bytes: &'bytes [u8],
}

/// Puts every example of `corpus/TARGET`, and some thousand changed ones, on trial. `HEIRLOOM_SEED`
/// repeats the changes.
///
/// # Panics
/// When the trial does, having printed the seed and the bytes; or when there is no example.
pub fn replay(target: &str, trial: impl Fn(&[u8])) {
    let examples = examples(target);
    let seed = std::env::var("HEIRLOOM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(by_the_clock);
    let mut random = Rng::with_seed(seed);
    let attempt = |bytes: &[u8]| {
        let witness = Witness {
            target,
            seed,
            bytes,
        };
        trial(witness.bytes);
    };
    for example in &examples {
        attempt(example);
    }
    for _ in 0..CHANGED {
        let mut bytes = random
            .choice(&examples)
            .cloned()
            .expect("there is an example");
        for _ in 0..random.usize(1..=CHANGES_MAX) {
            change(&mut bytes, &mut random, &examples);
        }
        bytes.truncate(BYTES_MAX);
        attempt(&bytes);
    }
}

fn examples(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let listed =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = listed
        .map(|entry| entry.expect("a folder that can be read").path())
        .collect();
    // In the same order everywhere, so that a seed repeats.
    files.sort();
    let examples: Vec<_> = files
        .iter()
        .map(|file| fs::read(file).expect("an example that can be read"))
        .collect();
    assert!(!examples.is_empty(), "no example in {}", folder.display());
    examples
}

fn by_the_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

fn change(bytes: &mut Vec<u8>, random: &mut Rng, examples: &[Vec<u8>]) {
    let at = random.usize(..=bytes.len());
    let until = random.usize(at..=bytes.len());
    match random.u8(..8) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..until)),
        2 => bytes.insert(at, random.u8(..)),
        3 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        4 if at < bytes.len() => bytes[at] = random.u8(..),
        5 => {
            let again = bytes[at..until].to_vec();
            bytes.splice(at..at, again);
        }
        6 => {
            let edge = random.choice(EDGES).expect("there are some");
            let width = random.choice([1, 2, 4, 8]).expect("there are some");
            let spelled = if random.bool() {
                edge.to_le_bytes()[..width].to_vec()
            } else {
                edge.to_be_bytes()[8 - width..].to_vec()
            };
            let until = (at + width).min(bytes.len());
            bytes.splice(at..until, spelled);
        }
        _ => {
            let other = random.choice(examples).expect("there is an example");
            bytes.splice(
                at..until,
                other[random.usize(..=other.len())..].iter().copied(),
            );
        }
    }
}

impl Drop for Witness<'_> {
    #[expect(
        clippy::print_stdout,
        reason = "what a test prints is shown when it fails"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{} under HEIRLOOM_SEED={}: {}",
                self.target,
                self.seed,
                self.bytes.escape_ascii()
            );
        }
    }
}
