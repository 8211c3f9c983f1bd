//! The ways in which a mount ends, none of which loses a photo.

use std::fs;
use std::path::Path;

use crate::command::{finish, run};
use crate::device::{Device, is_mounted};
use crate::house::House;
use crate::server::files_below;
use crate::waiting::{SOON, eventually};

/// Bytes per second of a link on which the photos of these tests take a while.
const SLOW: u64 = 2 << 20;

/// Copies an album over a slow link, ends the mount in this way at once, mounts again: everything
/// arrives.
#[track_caller]
fn nothing_is_lost_by(end: impl FnOnce(&mut Device)) {
    let mut house = House::new();
    let anna = house.person("anna");
    let link = house.link();
    link.slow_down_to(SLOW);
    let album = house.shelf("album");
    house.camera.take_album(&album, 40).expect("an album");
    let mut device = house.linked(&anna, "laptop", &link);
    device.mount();
    run("cp", [Path::new("-r"), &album, &device.mountpoint()]).succeeds();
    end(&mut device);
    assert!(
        house.server.images().len() < 40,
        "the link is slow enough for this test"
    );

    link.full_speed();
    device.mount();
    device.wait();
    house.keeps_all_of(&album, &anna, "album/");
}

#[test]
fn umount_right_after_cp_loses_nothing() {
    nothing_is_lost_by(|device| {
        // FUSE sends the last close after close(2) has returned; until then the kernel calls the
        // mount busy.
        eventually(SOON, "umount succeeds", || {
            run("umount", [device.mountpoint()]).code == 0
        });
        device.ends_well();
    });
}

#[test]
fn fusermount_right_after_cp_loses_nothing() {
    nothing_is_lost_by(|device| {
        eventually(SOON, "fusermount3 -u succeeds", || {
            run("fusermount3", [Path::new("-u"), &device.mountpoint()]).code == 0
        });
        device.ends_well();
    });
}

#[test]
fn sigterm_right_after_cp_loses_nothing() {
    nothing_is_lost_by(Device::terminate);
}

#[test]
fn unmount_right_after_cp_loses_nothing() {
    nothing_is_lost_by(Device::unmount);
}

#[test]
fn unmount_wait_returns_when_everything_is_backed_up() {
    let mut house = House::new();
    let anna = house.person("anna");
    let link = house.link();
    link.slow_down_to(SLOW);
    let mut device = house.linked(&anna, "laptop", &link);
    device.mount();
    let (photo, image) = house.photo("photo.jpg", 2 << 20);
    device.copy_in(&photo);
    finish(device.heirloom([
        Path::new("unmount"),
        &device.mountpoint(),
        Path::new("--wait"),
    ]))
    .succeeds();
    assert!(house.server.images().contains_key(&image));
    assert_eq!(house.ask(&anna).library().get("photo.jpg"), Some(&image));
    device.ends_well();
}

#[test]
fn unmount_wait_gives_up_in_time_and_stays_mounted() {
    let mut house = House::new();
    let anna = house.person("anna");
    house.server.stop();
    let device = house.device(&anna, "laptop");
    fs::write(device.path("photo.jpg"), house.camera.take(40_000)).expect("writable");
    let mut unmount = device.heirloom([
        Path::new("unmount"),
        &device.mountpoint(),
        Path::new("--wait"),
    ]);
    unmount.args(["--timeout", "1"]);
    finish(unmount).refuses(&["1 "]);
    assert!(is_mounted(&device.mountpoint()));
}

#[test]
fn a_stale_mount_is_cleaned_by_the_next_mount() {
    let mut house = House::new();
    let anna = house.person("anna");
    let mut device = house.device(&anna, "laptop");
    let (photo, image) = house.photo("photo.jpg", 40_000);
    device.copy_in(&photo);
    device.kill();
    assert!(is_mounted(&device.mountpoint()), "it is left behind");
    assert!(fs::read_dir(device.mountpoint()).is_err(), "dead");
    device.mount();
    device.wait();
    assert_eq!(house.ask(&anna).library().get("photo.jpg"), Some(&image));
}

#[test]
fn a_stale_mount_is_cleaned_by_unmount() {
    let house = House::new();
    let anna = house.person("anna");
    let mut device = house.device(&anna, "laptop");
    device.kill();
    assert!(is_mounted(&device.mountpoint()), "it is left behind");
    let printed = finish(device.heirloom([Path::new("unmount"), &device.mountpoint()])).succeeds();
    assert!(printed.contains("nothing is lost"), "{printed}");
    assert!(!is_mounted(&device.mountpoint()));
    finish(device.heirloom([Path::new("unmount"), &device.mountpoint()]))
        .refuses(&["nothing is mounted"]);
    device.mount();
}

#[test]
fn a_mount_in_the_background_with_the_embedded_server_returns_when_it_is_usable() {
    let mut house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    let data = house.shelf("data");
    let ask = |words: &[&str]| {
        let mut command = device.heirloom([words[0]]);
        command
            .arg(device.mountpoint())
            .args(&words[1..])
            .env("XDG_DATA_HOME", &data);
        finish(command)
    };
    let printed = ask(&["mount"]).succeeds();
    assert!(is_mounted(&device.mountpoint()), "{printed}");
    let (photo, image) = house.photo("photo.jpg", 40_000);
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
