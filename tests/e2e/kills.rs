//! SIGKILL of either side at random moments: no photo is lost, and nothing that had arrived is sent
//! again.
//!
//! The seed is printed; `HEIRLOOM_SEED` repeats it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heirloom_protocol::{Fingerprint, RangeSet};

use crate::command::{output_of, run};
use crate::device::{Device, fingerprints_below};
use crate::eventually::{BACKED_UP_WITHIN, eventually};
use crate::installation::{Installation, User};
use crate::link::Link;
use crate::seed::seeded;

/// How often each side is killed.
const ROUNDS: usize = 20;

/// Bytes per second of the link while processes are killed: slow enough that an upload is always in
/// progress.
const SLOW: u64 = 48 << 20;

/// Generates photos of all sizes, two of them large enough for many shards; returns their files,
/// and each image with its length.
fn photos(
    installation: &mut Installation,
    random: &mut fastrand::Rng,
) -> (Vec<PathBuf>, Vec<(Fingerprint, u64)>) {
    let small = (0..60).map(|number| {
        (
            format!("small-{number:02}.jpg"),
            random.usize(10_000..600_000),
        )
    });
    let large = [
        ("large-1.jpg".to_owned(), 48 << 20),
        ("large-2.jpg".to_owned(), 24 << 20),
    ];
    let photos = large.into_iter().chain(small).map(|(name, bytes)| {
        let (file, image) = installation.photo(&name, bytes);
        (file, (image, bytes as u64))
    });
    photos.unzip()
}

/// The number of bytes sent since the last call that the server already had.
pub fn sent_again(link: &Link, had: &BTreeMap<Fingerprint, RangeSet>) -> u64 {
    let shards = link.take_sent_shards();
    let again = |image: &Fingerprint, shard: RangeSet| {
        had.get(image).map_or(0, |had| {
            shard.byte_count() - shard.without(had).byte_count()
        })
    };
    shards
        .iter()
        .map(|shard| again(&shard.image, RangeSet::from_iter([shard.range])))
        .sum()
}

/// Copies photos one after the other until a copy fails, as it does when the mount dies; returns
/// those that were closed.
fn copy_until_failure(photos: &[PathBuf], mountpoint: &Path) -> Vec<PathBuf> {
    let copied = |photo: &&PathBuf| {
        fs::copy(photo, mountpoint.join(photo.file_name().expect("a name"))).is_ok()
    };
    photos.iter().take_while(copied).cloned().collect()
}

#[test]
fn no_photo_is_lost_when_the_client_is_killed() {
    let mut random = seeded();
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (photos, images) = photos(&mut installation, &mut random);
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    let mut waiting = photos;
    let mut had = installation.client(&anna).received_ranges(&images);

    for round in 1..=ROUNDS {
        device.mount();
        // A photo that was closed before a kill is never copied again: it is ours to keep.
        let batch = waiting.len().min(8);
        let mountpoint = device.mountpoint();
        let copying = waiting[..batch].to_vec();
        let copying = std::thread::spawn(move || copy_until_failure(&copying, &mountpoint));
        std::thread::sleep(Duration::from_millis(random.u64(0..700)));
        device.kill();
        link.reset_connections();
        let closed = copying.join().expect("copying does not panic");
        waiting.retain(|photo| !closed.contains(photo));
        assert_eq!(
            sent_again(&link, &had),
            0,
            "round {round}: sent although the server had it"
        );
        had = installation.client(&anna).received_ranges(&images);
    }
    link.full_speed();
    device.mount();
    let closed = copy_until_failure(&waiting, &device.mountpoint());
    assert_eq!(closed.len(), waiting.len(), "nothing kills it now");
    device.wait();
    assert_eq!(
        sent_again(&link, &had),
        0,
        "sent although the server had it"
    );
    assert_all_kept(&installation, &anna, &device);
}

#[test]
fn no_photo_is_lost_when_the_server_is_killed() {
    let mut random = seeded();
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (photos, images) = photos(&mut installation, &mut random);
    let link = installation.link();
    link.limit_rate_to(SLOW / 6);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    assert_eq!(
        copy_until_failure(&photos, &device.mountpoint()).len(),
        photos.len()
    );
    let mut had = installation.client(&anna).received_ranges(&images);

    for round in 1..=ROUNDS {
        let mark = link.bytes_to_server();
        let done = || device.status().waiting() == 0;
        eventually(BACKED_UP_WITHIN, "the client is sending again", || {
            link.bytes_to_server() > mark || done()
        });
        std::thread::sleep(Duration::from_millis(random.u64(0..300)));
        link.disconnect();
        installation.server.kill();
        assert_eq!(
            sent_again(&link, &had),
            0,
            "round {round}: sent although the server had it"
        );
        installation.server.start_again();
        had = installation.client(&anna).received_ranges(&images);
        link.reconnect();
    }
    link.full_speed();
    device.wait();
    assert_all_kept(&installation, &anna, &device);
}

#[test]
fn a_photo_half_written_at_a_kill_never_counts_as_complete() {
    use std::io::Write as _;
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    // With passthrough, the writer goes on after the client's end, and what it closes is complete.
    let mut device = installation
        .unmounted_device(&anna, "laptop")
        .with_options(&["--io", "direct"]);
    device.mount();
    let photo = installation.generator.generate(1 << 20);
    let mut file = fs::File::create(device.path("torn.jpg")).expect("writable");
    file.write_all(&photo[..600_000]).expect("writable");
    // Every program that is started closes the descriptors it inherited from us.
    run("true", [""; 0]).succeeds();
    device.kill();
    drop(file);

    device.mount();
    let (whole, image) = installation.photo("whole.jpg", 100_000);
    device.copy_in(&whole);
    device.wait_for(&["whole.jpg"]);
    eventually(BACKED_UP_WITHIN, "the tree has been compared", || {
        device.attribute("torn.jpg", "state") != "pending"
    });
    assert_eq!(
        device.attribute("torn.jpg", "state"),
        "failed",
        "it says so"
    );
    output_of(device.heirloom([Path::new("wait"), &device.mountpoint()]))
        .fails_with(&["torn.jpg", "copy it again"]);
    assert_eq!(
        installation.server.images().into_keys().collect::<Vec<_>>(),
        [image],
        "no half photo on the server"
    );

    // Copied again, it is backed up like any other photo.
    fs::write(device.path("torn.jpg"), &photo).expect("writable");
    device.wait();
    assert_eq!(device.attribute("torn.jpg", "state"), "backed_up");
}

/// Asserts that every closed photo is in the mount, on the server and in the library, and that no
/// other image exists.
#[track_caller]
fn assert_all_kept(installation: &Installation, anna: &User, device: &Device) {
    let photos = &installation.scratch_folder("camera");
    assert_eq!(
        device.contents(),
        fingerprints_below(photos),
        "the mount shows what was copied"
    );
    installation.assert_backed_up(photos, anna, "");
    let images = installation.server.images().len();
    assert_eq!(
        images,
        fingerprints_below(photos).len(),
        "no torn or mixed photo was stored"
    );
}
