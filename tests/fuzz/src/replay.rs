//! Runs a fuzz target with its corpus and random mutations of it, without libFuzzer.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// Mutated inputs of one replay.
const MUTATED: usize = 4_000;

/// The most mutations of one input.
const MUTATIONS_MAX: usize = 6;

/// The largest input, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// Numbers at which parsers often fail.
const BOUNDARIES: [u64; 12] = [
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

/// Prints the input if the target panics.
struct PanicReport<'bytes> {
    name: &'bytes str,
    seed: u64,
    bytes: &'bytes [u8],
}

/// Runs `target` with every input of `corpus/NAME`, and with some thousand mutated ones.
/// `HEIRLOOM_SEED` repeats the mutations.
///
/// # Panics
/// When the target panics, after printing the seed and the input; or when the corpus is empty.
pub fn replay(name: &str, target: impl Fn(&[u8])) {
    let corpus = read_corpus(name);
    let seed = std::env::var("HEIRLOOM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(seed_from_clock);
    let mut random = Rng::with_seed(seed);
    let run = |bytes: &[u8]| {
        let report = PanicReport { name, seed, bytes };
        target(report.bytes);
    };
    for input in &corpus {
        run(input);
    }
    for _ in 0..MUTATED {
        let mut bytes = random
            .choice(&corpus)
            .cloned()
            .expect("the corpus is not empty");
        for _ in 0..random.usize(1..=MUTATIONS_MAX) {
            mutate(&mut bytes, &mut random, &corpus);
        }
        bytes.truncate(BYTES_MAX);
        run(&bytes);
    }
}

fn read_corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let listed =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = listed
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    // In the same order everywhere, so that a seed repeats the run.
    files.sort();
    let corpus: Vec<_> = files
        .iter()
        .map(|file| fs::read(file).expect("a readable file"))
        .collect();
    assert!(!corpus.is_empty(), "no input in {}", folder.display());
    corpus
}

fn seed_from_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Rng, corpus: &[Vec<u8>]) {
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
            let number = random.choice(BOUNDARIES).expect("the list is not empty");
            let width = random.choice([1, 2, 4, 8]).expect("the list is not empty");
            let encoded = if random.bool() {
                number.to_le_bytes()[..width].to_vec()
            } else {
                number.to_be_bytes()[8 - width..].to_vec()
            };
            let until = (at + width).min(bytes.len());
            bytes.splice(at..until, encoded);
        }
        _ => {
            let other = random.choice(corpus).expect("the corpus is not empty");
            bytes.splice(
                at..until,
                other[random.usize(..=other.len())..].iter().copied(),
            );
        }
    }
}

impl Drop for PanicReport<'_> {
    #[expect(
        clippy::print_stdout,
        reason = "what a test prints is shown when it fails"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{} with HEIRLOOM_SEED={}: {}",
                self.name,
                self.seed,
                self.bytes.escape_ascii()
            );
        }
    }
}
