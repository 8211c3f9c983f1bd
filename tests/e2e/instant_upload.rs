//! Two users with the same photo: the second upload sends nothing, after a proof of possession.

use std::path::Path;

use crate::command::run;
use crate::installation::Installation;

#[test]
fn a_second_users_copy_of_a_photo_is_linked_without_upload() {
    let mut installation = Installation::new();
    let (anna, bert) = (installation.user("anna"), installation.user("bert"));
    let link = installation.link();
    let annas = installation.device(&anna, "anna");
    let mut berts = installation.device_over_link(&bert, "bert", &link);
    berts.mount();
    let photos = installation.scratch_folder("camera");
    for number in 0..10 {
        installation.photo(&format!("{number}.jpg"), 300_000 + number);
    }
    run("cp", [Path::new("-rT"), &photos, &annas.mountpoint()]).succeeds();
    annas.wait();
    assert!(
        installation.client(&bert).library().is_empty(),
        "nothing of it is Bert's"
    );

    run("cp", [Path::new("-rT"), &photos, &berts.mountpoint()]).succeeds();
    berts.wait();
    let status = berts.status();
    assert_eq!((status.files("backed_up"), status.sent()), (10, 0));
    assert_eq!(
        status.number("/saved/instant_upload_bytes"),
        (0..10).map(|number| 300_000 + number).sum::<u64>()
    );
    assert!(
        link.bytes_to_server() < 16 << 10,
        "{} bytes on the wire",
        link.bytes_to_server()
    );
    installation.assert_backed_up(&photos, &bert, "");
    assert_eq!(installation.server.images().len(), 10, "each is kept once");
}

#[test]
fn another_users_small_photo_is_uploaded_in_full() {
    let mut installation = Installation::new();
    let (anna, bert) = (installation.user("anna"), installation.user("bert"));
    let (annas, berts) = (
        installation.device(&anna, "anna"),
        installation.device(&bert, "bert"),
    );
    let (photo, image) = installation.photo("small.jpg", 20_000);
    annas.copy_in(&photo);
    annas.wait();
    berts.copy_in(&photo);
    berts.wait();
    assert_eq!(
        berts.status().sent(),
        20_000,
        "below 64 KiB a photo could be guessed"
    );
    assert_eq!(
        installation.client(&bert).library().get("small.jpg"),
        Some(&image)
    );
}

#[test]
fn two_devices_of_one_user_share_what_is_backed_up() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (laptop, desktop) = (
        installation.device(&anna, "laptop"),
        installation.device(&anna, "desktop"),
    );
    let (photo, image) = installation.photo("photo.jpg", 400_000);
    laptop.copy_in(&photo);
    laptop.wait();
    std::fs::copy(&photo, desktop.path("again.jpg")).expect("writable");
    desktop.wait();
    let status = desktop.status();
    assert_eq!(
        (status.sent(), status.number("/saved/check_bytes")),
        (0, 400_000),
        "already backed up"
    );
    let names: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(
        names,
        [
            ("again.jpg".to_owned(), image),
            ("photo.jpg".to_owned(), image)
        ]
    );
}
