//! The ways in which a mount ends; none of them loses a photo.

use std::fs;
use std::path::Path;

use crate::command::{output_of, run};
use crate::device::{Device, is_mounted};
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;
use crate::server::files_below;

/// Bytes per second of a link on which the photos of these tests take a while.
const SLOW: u64 = 2 << 20;

/// Copies an album over a slow link, ends the mount with `end` at once, mounts again, and asserts
/// that everything arrives.
#[track_caller]
fn assert_nothing_lost_by(end: impl FnOnce(&mut Device)) {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, 40)
        .expect("an album");
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    run("cp", [Path::new("-r"), &album, &device.mountpoint()]).succeeds();
    end(&mut device);
    assert!(
        installation.server.images().len() < 40,
        "the link is slow enough for this test"
    );

    link.full_speed();
    device.mount();
    device.wait();
    installation.assert_backed_up(&album, &anna, "album/");
}

#[test]
fn umount_right_after_cp_loses_nothing() {
    assert_nothing_lost_by(|device| {
        // FUSE sends the last release after close(2) has returned; until then the kernel calls the
        // mount busy.
        eventually(SOON, "umount succeeds", || {
            run("umount", [device.mountpoint()]).code == 0
        });
        device.exits_cleanly();
    });
}

#[test]
fn fusermount_right_after_cp_loses_nothing() {
    assert_nothing_lost_by(|device| {
        eventually(SOON, "fusermount3 -u succeeds", || {
            run("fusermount3", [Path::new("-u"), &device.mountpoint()]).code == 0
        });
        device.exits_cleanly();
    });
}

#[test]
fn sigterm_right_after_cp_loses_nothing() {
    assert_nothing_lost_by(Device::terminate);
}

#[test]
fn unmount_right_after_cp_loses_nothing() {
    assert_nothing_lost_by(Device::unmount);
}

#[test]
fn unmount_wait_returns_when_everything_is_backed_up() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let (photo, image) = installation.photo("photo.jpg", 2 << 20);
    device.copy_in(&photo);
    output_of(device.heirloom([
        Path::new("unmount"),
        &device.mountpoint(),
        Path::new("--wait"),
    ]))
    .succeeds();
    assert!(installation.server.images().contains_key(&image));
    assert_eq!(
        installation.client(&anna).library().get("photo.jpg"),
        Some(&image)
    );
    device.exits_cleanly();
}

#[test]
fn unmount_wait_times_out_and_stays_mounted() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    installation.server.stop();
    let device = installation.device(&anna, "laptop");
    fs::write(
        device.path("photo.jpg"),
        installation.generator.generate(40_000),
    )
    .expect("writable");
    let mut unmount = device.heirloom([
        Path::new("unmount"),
        &device.mountpoint(),
        Path::new("--wait"),
    ]);
    unmount.args(["--timeout", "1"]);
    output_of(unmount).fails_with(&["1 "]);
    assert!(is_mounted(&device.mountpoint()));
}

#[test]
fn a_stale_mount_is_cleaned_by_the_next_mount() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (photo, image) = installation.photo("photo.jpg", 40_000);
    device.copy_in(&photo);
    device.kill();
    assert!(is_mounted(&device.mountpoint()), "it is left behind");
    assert!(fs::read_dir(device.mountpoint()).is_err(), "dead");
    device.mount();
    device.wait();
    assert_eq!(
        installation.client(&anna).library().get("photo.jpg"),
        Some(&image)
    );
}

#[test]
fn a_stale_mount_is_cleaned_by_unmount() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    device.kill();
    assert!(is_mounted(&device.mountpoint()), "it is left behind");
    let printed =
        output_of(device.heirloom([Path::new("unmount"), &device.mountpoint()])).succeeds();
    assert!(printed.contains("nothing is lost"), "{printed}");
    assert!(!is_mounted(&device.mountpoint()));
    output_of(device.heirloom([Path::new("unmount"), &device.mountpoint()]))
        .fails_with(&["not mounted"]);
    device.mount();
}

#[test]
fn a_mount_in_the_background_with_the_embedded_server_returns_when_it_is_usable() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    let data = installation.scratch_folder("data");
    let ask = |words: &[&str]| {
        let mut command = device.heirloom([words[0]]);
        command
            .arg(device.mountpoint())
            .args(&words[1..])
            .env("XDG_DATA_HOME", &data);
        output_of(command)
    };
    let printed = ask(&["mount"]).succeeds();
    assert!(is_mounted(&device.mountpoint()), "{printed}");
    let (photo, image) = installation.photo("photo.jpg", 40_000);
    device.copy_in(&photo);
    ask(&["wait", "--timeout", "60"]).succeeds();
    let status = device.status();
    assert_eq!(status.files("backed_up"), 1);
    let stored = files_below(&data);
    assert!(
        stored.iter().any(|file| file.ends_with(image.to_string())),
        "the embedded server has it: {stored:?}"
    );

    ask(&["unmount", "--timeout", "60"]).succeeds();
    let process = format!("/proc/{}", status.number("/pid"));
    eventually(SOON, "the daemon ends", || !Path::new(&process).exists());
    assert!(!is_mounted(&device.mountpoint()));
}
