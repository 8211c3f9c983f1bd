//! The client's sync list: known photos are not sent again, and losing the list costs time but no
//! photos.

use std::fs;
use std::path::Path;

use crate::command::run;
use crate::installation::Installation;

/// Bytes on the wire that headers, checks and library updates may cost for each photo that need not
/// be sent.
const OVERHEAD_BYTES_PER_PHOTO: u64 = 200;

/// Bytes on the wire for connections and sessions, however few the photos.
const OVERHEAD_BYTES: u64 = 8 << 10;

#[test]
fn no_photo_is_sent_again_after_the_journal_is_lost() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, 100)
        .expect("an album");
    let mut device = installation.device_over_link(&anna, "laptop", &link);
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
    let overhead = link.bytes_to_server() - before;
    assert!(
        overhead < OVERHEAD_BYTES + 2 * 100 * OVERHEAD_BYTES_PER_PHOTO,
        "{overhead} bytes for 100 photos that it has"
    );
    installation.assert_backed_up(&album, &anna, "album/");
}

#[test]
fn photos_copied_to_other_names_are_not_sent_again() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, 200)
        .expect("an album");
    let mut device = installation.device_over_link(&anna, "laptop", &link);
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
    let overhead = link.bytes_to_server() - before;
    assert!(
        overhead < OVERHEAD_BYTES + 200 * OVERHEAD_BYTES_PER_PHOTO,
        "{overhead} bytes on the wire for 200 new names"
    );
    installation.assert_backed_up(&album, &anna, "copy/");
}

#[test]
fn photos_put_into_the_spool_while_unmounted_are_backed_up() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (first, _) = installation.photo("first.jpg", 70_000);
    device.copy_in(&first);
    device.wait();
    device.unmount();

    let (second, image) = installation.photo("second.jpg", 80_000);
    fs::copy(&second, device.state().join("spool/second.jpg")).expect("an ordinary folder");
    device.mount();
    device.wait();
    assert_eq!(
        installation.client(&anna).library().get("second.jpg"),
        Some(&image)
    );
    assert_eq!(device.status().sent(), 80_000, "and only at that");
}
