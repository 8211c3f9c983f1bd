//! Renames while photos are scanned and uploaded: each arrives once, complete, under its last name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use heirloom_protocol::Fingerprint;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::eventually::{BACKED_UP_WITHIN, eventually};
use crate::installation::Installation;

/// Bytes per second of a link on which a large photo takes a while.
const SLOW: u64 = 8 << 20;

/// Time between two renames: often enough to hit every step of a backup, and rarely enough that
/// other work gets its turn.
const BETWEEN: Duration = Duration::from_millis(7);

/// Some seconds of renames. Endless renames would keep the photo from being backed up: it is
/// scanned again after each.
const RENAMES_MAX: u32 = 300;

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("an exchange");
}

#[test]
fn photos_exchanged_during_their_upload_arrive_once_under_their_new_names() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let (first, second) = (
        installation.generator.generate(12 << 20),
        installation.generator.generate(9 << 20),
    );
    fs::write(device.path("a.jpg"), &first).expect("writable");
    fs::write(device.path("b.jpg"), &second).expect("writable");
    eventually(BACKED_UP_WITHIN, "the upload is under way", || {
        link.bytes_to_server() > 4 << 20
    });
    exchange(&device.path("a.jpg"), &device.path("b.jpg"));
    link.full_speed();
    device.wait();

    let (first, second) = (Fingerprint::of(&first), Fingerprint::of(&second));
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(
        library,
        [("a.jpg".to_owned(), second), ("b.jpg".to_owned(), first)]
    );
    assert_eq!(device.attribute("a.jpg", "fingerprint"), second.to_string());
    assert_eq!(device.attribute("b.jpg", "state"), "backed_up");
    assert_eq!(
        device.status().sent(),
        (12 << 20) + (9 << 20),
        "new names cost no photo bytes"
    );
}

#[test]
fn folders_exchanged_after_their_backup_exchange_their_names_in_the_library() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let mut images = Vec::new();
    for (folder, name) in [("x", "1.jpg"), ("x", "2.jpg"), ("y", "1.jpg")] {
        fs::create_dir_all(device.path(folder)).expect("mkdir");
        let photo = installation.generator.generate(40_000);
        fs::write(device.path(folder).join(name), &photo).expect("writable");
        images.push(Fingerprint::of(&photo));
    }
    device.wait();
    let sent = device.status().sent();
    exchange(&device.path("x"), &device.path("y"));
    device.wait();
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    let expected = [
        ("x/1.jpg", images[2]),
        ("y/1.jpg", images[0]),
        ("y/2.jpg", images[1]),
    ];
    assert_eq!(
        library,
        expected.map(|(path, image)| (path.to_owned(), image))
    );
    assert_eq!(device.status().sent(), sent);
}

#[test]
fn a_photo_whose_folder_is_constantly_renamed_arrives_under_its_last_name() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    fs::create_dir(device.path("0")).expect("mkdir");
    let photo = installation.generator.generate(24 << 20);
    fs::write(device.path("0/photo.jpg"), &photo).expect("writable");
    // From before the photo is quiet, while it is read, until some of it is uploaded.
    let mut renames = 0;
    while renames < RENAMES_MAX && link.bytes_to_server() < 4 << 20 {
        fs::rename(
            device.path(renames.to_string()),
            device.path((renames + 1).to_string()),
        )
        .expect("rename");
        renames += 1;
        std::thread::sleep(BETWEEN);
    }
    link.full_speed();
    device.wait();
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(
        library,
        [(format!("{renames}/photo.jpg"), Fingerprint::of(&photo))]
    );
    assert_eq!(
        device.attribute(&format!("{renames}/photo.jpg"), "state"),
        "backed_up"
    );
}
