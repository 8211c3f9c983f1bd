//! What the client remembers, and that forgetting costs time and never photos.

use std::fs;
use std::path::Path;

use crate::command::run;
use crate::house::House;

/// Bytes that headers, checks and the library may cost on the wire for each photo, when no photo
/// has to be sent.
const TALK_BYTES_PER_PHOTO: u64 = 200;

/// Bytes of connections and sessions that are there however few the photos.
const TALK_BYTES: u64 = 8 << 10;

#[test]
fn no_photo_is_sent_again_after_the_journal_is_gone() {
    let mut house = House::new();
    let anna = house.person("anna");
    let link = house.link();
    let album = house.shelf("album");
    house.camera.take_album(&album, 100).expect("an album");
    let mut device = house.linked(&anna, "laptop", &link);
    device.mount();
    run("cp", [Path::new("-r"), &album, &device.mountpoint()]).succeeds();
    device.wait();
    device.unmount();

    fs::remove_file(device.state().join("journal.redb")).expect("the journal");
    let before = link.bytes_to_server();
    device.mount();
    device.wait();
    let status = device.status();
    assert_eq!((status.files("backed_up"), status.sent()), (100, 0));
    assert!(
        status.number("/saved/check_bytes") > 0,
        "the server said that it has them"
    );
    let talk = link.bytes_to_server() - before;
    assert!(
        talk < TALK_BYTES + 2 * 100 * TALK_BYTES_PER_PHOTO,
        "{talk} bytes for 100 photos that it has"
    );
    house.keeps_all_of(&album, &anna, "album/");
}

#[test]
fn the_same_photos_under_other_names_cost_no_photo_bytes() {
    let mut house = House::new();
    let anna = house.person("anna");
    let link = house.link();
    let album = house.shelf("album");
    house.camera.take_album(&album, 200).expect("an album");
    let mut device = house.linked(&anna, "laptop", &link);
    device.mount();
    run("cp", [Path::new("-r"), &album, &device.mountpoint()]).succeeds();
    device.wait();

    let before = link.bytes_to_server();
    let sent = device.status().sent();
    run("cp", [Path::new("-r"), &album, &device.path("copy")]).succeeds();
    device.wait();
    let status = device.status();
    assert_eq!((status.files("backed_up"), status.sent()), (400, sent));
    assert!(
        status.number("/saved/sync_list_bytes") > 0,
        "it remembered them"
    );
    let talk = link.bytes_to_server() - before;
    assert!(
        talk < TALK_BYTES + 200 * TALK_BYTES_PER_PHOTO,
        "{talk} bytes on the wire for 200 new names"
    );
    house.keeps_all_of(&album, &anna, "copy/");
}

#[test]
fn a_new_start_looks_at_what_was_put_into_the_spool_meanwhile() {
    let mut house = House::new();
    let anna = house.person("anna");
    let mut device = house.device(&anna, "laptop");
    let (first, _) = house.photo("first.jpg", 70_000);
    device.copy_in(&first);
    device.wait();
    device.unmount();

    let (second, image) = house.photo("second.jpg", 80_000);
    fs::copy(&second, device.state().join("spool/second.jpg")).expect("an ordinary folder");
    device.mount();
    device.wait();
    assert_eq!(house.ask(&anna).library().get("second.jpg"), Some(&image));
    assert_eq!(device.status().sent(), 80_000, "and only at that");
}
