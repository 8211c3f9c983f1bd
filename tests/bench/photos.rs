//! Fills a folder with generated photos: `photos FOLDER COUNT MEAN_BYTES SEED`. For
//! `scripts/bench`.
//!
//! Sizes lie between half and one and a half times the mean; the sum is COUNT times the mean for an
//! even COUNT.

#[path = "../e2e/photo_generator.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the generator belongs to the tests, which ask more of it"
)]
mod photo_generator;

use std::path::Path;

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, mean, seed] = arguments.as_slice() else {
        bail!("usage: photos FOLDER COUNT MEAN_BYTES SEED");
    };
    let mean: usize = mean.parse().context("MEAN_BYTES is a number")?;
    if mean < 4 * photo_generator::BYTES_MIN {
        bail!("MEAN_BYTES is at least {}", 4 * photo_generator::BYTES_MIN);
    }
    let count = count.parse().context("COUNT is a number")?;
    let seed = seed.parse().context("SEED is a number")?;
    fill(Path::new(folder), count, mean, seed).with_context(|| format!("fill {folder}"))
}

/// Photos come in pairs, the second as much above the mean as the first is below.
fn fill(folder: &Path, count: usize, mean: usize, seed: u64) -> std::io::Result<()> {
    let mut generator = photo_generator::PhotoGenerator::new(seed);
    std::fs::create_dir_all(folder)?;
    let mut off = 0;
    for number in 0..count {
        let bytes = if number % 2 == 0 {
            off = generator.between(0, mean / 2);
            mean - off
        } else {
            mean + off
        };
        let name = format!(
            "IMG_{number:05}.{}",
            if generator.next_is_png() {
                "png"
            } else {
                "jpg"
            }
        );
        generator.generate_file(&folder.join(name), bytes)?;
    }
    Ok(())
}
