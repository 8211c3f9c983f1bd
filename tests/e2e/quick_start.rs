//! One photo, from `cp` to the server and back, and which files are backed up.

use std::fs;

use heirloom_protocol::Fingerprint;

use crate::installation::Installation;
use crate::sample_photos::real_pictures;

#[test]
fn one_photo_goes_from_cp_to_the_server_and_back() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (photo, fingerprint) = installation.photo("first.jpg", 1_500_000);

    device.copy_in(&photo);
    device.wait_for(&["first.jpg"]);

    let status = device.status();
    assert_eq!(
        (
            status.files("backed_up"),
            status.waiting(),
            status.files("failed")
        ),
        (1, 0, 0)
    );
    assert_eq!(status.number("/files/backed_up/bytes"), 1_500_000);
    assert_eq!(
        installation.client(&anna).image(fingerprint),
        Some(fs::read(&photo).expect("the photo")),
        "the server's bytes"
    );
    assert_eq!(
        fs::read(device.path("first.jpg")).expect("readable"),
        fs::read(&photo).expect("the photo")
    );
    assert_eq!(device.attribute("first.jpg", "state"), "backed_up");
    assert_eq!(
        device.attribute("first.jpg", "fingerprint"),
        fingerprint.to_string()
    );
    device.wait();
    assert_eq!(
        installation.client(&anna).library().get("first.jpg"),
        Some(&fingerprint),
        "the library lists it"
    );
    assert_eq!(
        (
            status.sent(),
            installation
                .client(&anna)
                .metric("heirloom_shard_bytes_received_total")
        ),
        (1_500_000, 1_500_000)
    );
}

#[test]
fn images_are_recognised_by_their_first_bytes_not_their_names() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    for (name, bytes) in real_pictures() {
        fs::write(device.path(name.replace('.', "-")), bytes).expect("writable");
    }
    fs::write(device.path("letter.jpg"), "Dear Anna, this is no photo.").expect("writable");
    fs::write(
        device.path("film.mp4"),
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    )
    .expect("writable");
    fs::write(device.path("empty.jpg"), b"").expect("writable");
    device.wait();

    let status = device.status();
    assert_eq!(
        (
            status.files("backed_up"),
            status.files("local"),
            status.waiting()
        ),
        (6, 3, 0)
    );
    let images = installation.server.images();
    for (name, bytes) in real_pictures() {
        assert!(
            images.contains_key(&Fingerprint::of(&bytes)),
            "{name} is on the server"
        );
        assert_eq!(
            device.attribute(&name.replace('.', "-"), "state"),
            "backed_up"
        );
    }
    assert_eq!(images.len(), 6, "nothing else is");
    for name in ["letter.jpg", "film.mp4", "empty.jpg"] {
        assert_eq!(device.attribute(name, "state"), "local", "{name}");
        assert!(
            !installation.client(&anna).library().contains_key(name),
            "{name} is in no library"
        );
    }
}

#[test]
fn accept_media_takes_films_and_accept_all_takes_everything() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".as_slice();
    for (choice, backed_up) in [("media", 2), ("all", 3)] {
        let mut device = installation
            .unmounted_device(&anna, choice)
            .with_options(&["--accept", choice]);
        device.mount();
        fs::write(device.path("film.mp4"), [film, choice.as_bytes()].concat()).expect("writable");
        fs::write(
            device.path("IMG_1.xmp"),
            format!("<x:xmpmeta>{choice}</x:xmpmeta>"),
        )
        .expect("writable");
        fs::write(device.path("notes.txt"), format!("notes, {choice}")).expect("writable");
        device.wait();
        assert_eq!(
            device.status().files("backed_up"),
            backed_up,
            "--accept {choice}"
        );
    }
}

#[test]
fn the_library_follows_renames_and_removals_and_keeps_the_bytes() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (first, first_image) = installation.photo("first.jpg", 50_000);
    let (second, second_image) = installation.photo("second.jpg", 60_000);
    device.copy_in(&first);
    device.copy_in(&second);
    device.wait();

    fs::create_dir(device.path("2026")).expect("mkdir");
    fs::rename(device.path("first.jpg"), device.path("2026/spring.jpg")).expect("rename");
    fs::remove_file(device.path("second.jpg")).expect("unlink");
    device.wait();
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(library, [("2026/spring.jpg".to_owned(), first_image)]);

    fs::rename(device.path("2026"), device.path("album")).expect("rename of a folder");
    device.wait();
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(library, [("album/spring.jpg".to_owned(), first_image)]);
    let images = installation.server.images();
    assert!(
        images.contains_key(&first_image) && images.contains_key(&second_image),
        "no bytes are removed"
    );
    assert_eq!(
        device.status().sent(),
        110_000,
        "a new name costs no photo bytes"
    );
}
