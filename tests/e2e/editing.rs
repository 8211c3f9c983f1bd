//! Photos that change during their upload: the last content arrives, and never a mixture of two.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};

use heirloom_protocol::Fingerprint;

use crate::eventually::{BACKED_UP_WITHIN, eventually};
use crate::installation::Installation;
use crate::mapping::Mapping;

/// Bytes per second of a link on which a large photo takes a while.
const SLOW: u64 = 8 << 20;

#[test]
fn an_edit_during_the_upload_reaches_the_server() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let before = installation.generator.generate(30 << 20);
    fs::write(device.path("photo.jpg"), &before).expect("writable");
    eventually(BACKED_UP_WITHIN, "the upload is under way", || {
        link.bytes_to_server() > 4 << 20
    });

    // The same length, with other pixels in the middle and near the end.
    let mut after = before.clone();
    let mut file = File::options()
        .write(true)
        .open(device.path("photo.jpg"))
        .expect("writable");
    for place in [10 << 20, 29 << 20] {
        after[place..place + 8].copy_from_slice(b"retouch!");
        file.seek(SeekFrom::Start(place as u64)).expect("seekable");
        file.write_all(b"retouch!").expect("writable");
    }
    drop(file);
    link.full_speed();
    device.wait();

    let (before, after) = (Fingerprint::of(&before), Fingerprint::of(&after));
    assert_eq!(
        installation.client(&anna).library().get("photo.jpg"),
        Some(&after)
    );
    let images = installation.server.images();
    assert!(images.contains_key(&after));
    assert!(
        images.keys().all(|image| [before, after].contains(image)),
        "whole versions only"
    );
    assert_eq!(
        device.attribute("photo.jpg", "fingerprint"),
        after.to_string()
    );
}

#[test]
fn a_photo_removed_during_the_upload_is_in_no_library() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    fs::write(
        device.path("photo.jpg"),
        installation.generator.generate(20 << 20),
    )
    .expect("writable");
    eventually(BACKED_UP_WITHIN, "the upload is under way", || {
        link.bytes_to_server() > 4 << 20
    });
    fs::remove_file(device.path("photo.jpg")).expect("unlink");
    link.full_speed();
    device.wait();
    assert!(installation.client(&anna).library().is_empty());
    assert_eq!(device.status().waiting(), 0);
}

#[test]
fn a_photo_renamed_during_the_upload_arrives_once_under_its_new_name() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let photo = installation.generator.generate(20 << 20);
    fs::write(device.path("photo.jpg"), &photo).expect("writable");
    eventually(BACKED_UP_WITHIN, "the upload is under way", || {
        link.bytes_to_server() > 4 << 20
    });
    fs::rename(device.path("photo.jpg"), device.path("renamed.jpg")).expect("rename");
    link.full_speed();
    device.wait();
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(
        library,
        [("renamed.jpg".to_owned(), Fingerprint::of(&photo))]
    );
}

#[test]
fn a_photo_that_was_appended_to_is_backed_up_again() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (photo, _) = installation.photo("photo.jpg", 60_000);
    device.copy_in(&photo);
    device.wait();
    let mut file = File::options()
        .append(true)
        .open(device.path("photo.jpg"))
        .expect("writable");
    file.write_all(b"a trailer after the end")
        .expect("writable");
    drop(file);
    device.wait();
    let now = Fingerprint::of(&fs::read(device.path("photo.jpg")).expect("readable"));
    assert_eq!(
        installation.client(&anna).library().get("photo.jpg"),
        Some(&now)
    );

    File::options()
        .write(true)
        .open(device.path("photo.jpg"))
        .expect("writable")
        .set_len(30_000)
        .expect("shorter");
    device.wait();
    let now = Fingerprint::of(&fs::read(device.path("photo.jpg")).expect("readable"));
    assert_eq!(
        installation.client(&anna).library().get("photo.jpg"),
        Some(&now)
    );
}

#[test]
fn mapped_writes_after_close_are_backed_up() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let mut photo = installation.generator.generate(300_000);
    fs::write(device.path("mapped.jpg"), &photo).expect("writable");
    let file = File::options()
        .read(true)
        .write(true)
        .open(device.path("mapped.jpg"))
        .expect("writable");
    let mapping = Mapping::of(&file, photo.len()).expect("it can be mapped");
    drop(file);
    // Closed after the mapping was made, and backed up before the write.
    let (other, _) = installation.photo("other.jpg", 100_000);
    device.copy_in(&other);
    device.wait_for(&["other.jpg"]);
    assert_eq!(
        device.attribute("mapped.jpg", "state"),
        "pending",
        "a program may still write"
    );
    photo[1_000..1_008].copy_from_slice(b"retouch!");
    mapping.write(1_000, b"retouch!");
    mapping.sync().expect("the disk takes it");
    drop(mapping);
    device.wait();
    let image = Fingerprint::of(&photo);
    assert_eq!(
        installation.client(&anna).library().get("mapped.jpg"),
        Some(&image)
    );
    assert_eq!(
        device.attribute("mapped.jpg", "fingerprint"),
        image.to_string()
    );
}
