//! The server is away or refuses requests: the mount works, the state says so, and everything
//! arrives later.

use std::fs;
use std::path::Path;

use crate::command::{output_of, run};
use crate::device::fingerprints_below;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

#[test]
fn the_mount_works_offline_and_uploads_everything_later() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, 30)
        .expect("an album");
    installation.server.stop();
    let device = installation.device(&anna, "laptop");

    run("cp", [Path::new("-r"), &album, &device.mountpoint()]).succeeds();
    assert_eq!(
        fingerprints_below(&device.path("album")),
        fingerprints_below(&album),
        "listed and read"
    );
    fs::rename(device.path("album"), device.path("renamed")).expect("rename");
    fs::create_dir(device.path("empty")).expect("mkdir");
    eventually(SOON, "status says that the server is away", || {
        let status = device.status();
        status.word("/connection/state") == "offline" && !status.word("/connection/why").is_empty()
    });
    eventually(SOON, "all photos are queued", || {
        device.status().files("pending") == 30
    });
    let (some, _) = fingerprints_below(&device.path("renamed")).swap_remove(0);
    assert_eq!(
        device.attribute(&format!("renamed/{some}"), "state"),
        "pending"
    );

    installation.server.start_again();
    device.wait();
    installation.assert_backed_up(&album, &anna, "renamed/");
    assert_eq!(device.status().word("/connection/state"), "online");
}

#[test]
fn wait_times_out_and_says_what_is_left() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    installation.server.stop();
    let device = installation.device(&anna, "laptop");
    fs::write(
        device.path("photo.jpg"),
        installation.generator.generate(30_000),
    )
    .expect("writable");
    let mut wait = device.heirloom([Path::new("wait"), &device.mountpoint()]);
    wait.args(["--timeout", "1"]);
    output_of(wait).fails_with(&["1 "]);
}

#[test]
fn with_a_wrong_token_photos_wait_for_a_login() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.unmounted_device(&anna, "laptop");
    device.log_in("not-a-token-of-anybody");
    device.mount();
    let (photo, image) = installation.photo("photo.jpg", 90_000);
    device.copy_in(&photo);
    eventually(SOON, "status says login needed", || {
        device.status().word("/connection/state") == "login_needed"
    });
    let status = device.status();
    assert_eq!(
        (status.waiting(), status.files("failed"), status.sent()),
        (1, 0, 0)
    );
    assert_eq!(device.attribute("photo.jpg", "state"), "pending");
    let table = output_of(device.heirloom([Path::new("status"), &device.mountpoint()])).succeeds();
    assert!(
        table.to_lowercase().contains("login needed"),
        "a person reads it too: {table}"
    );

    device.unmount();
    device.log_in(&anna.token);
    device.mount();
    device.wait();
    assert_eq!(
        installation.client(&anna).library().get("photo.jpg"),
        Some(&image)
    );
}
