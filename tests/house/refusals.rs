//! What cannot be done is refused with one clear sentence and an exit code that is not 0.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::command::finish;
use crate::house::House;

#[test]
fn a_mount_over_something_that_is_not_an_empty_directory_is_refused() {
    let house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    fs::write(device.path("mine.txt"), "mine").expect("writable");
    finish(device.mount_command()).refuses(&["empty"]);
    assert_eq!(
        fs::read_to_string(device.path("mine.txt")).expect("untouched"),
        "mine"
    );

    fs::remove_file(device.path("mine.txt")).expect("ours");
    fs::remove_dir(device.mountpoint()).expect("ours");
    fs::write(device.mountpoint(), "a file").expect("writable");
    finish(device.mount_command()).refuses(&["directory"]);
    fs::remove_file(device.mountpoint()).expect("ours");
    finish(device.mount_command()).refuses(&["mount"]);
}

#[test]
fn a_second_mount_in_the_same_place_is_refused() {
    let house = House::new();
    let anna = house.person("anna");
    let device = house.device(&anna, "laptop");
    finish(device.mount_command()).refuses(&["in use"]);
    let mut elsewhere = device.heirloom([
        Path::new("mount"),
        &device.mountpoint(),
        Path::new("--foreground"),
    ]);
    finish({
        elsewhere.arg("--state").arg(house.shelf("other"));
        elsewhere
    })
    .refuses(&["already"]);
    fs::write(device.path("still.txt"), "here").expect("the first mount is unharmed");
}

#[test]
fn a_missing_or_empty_token_file_is_refused() {
    let house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    device.log_in("");
    finish(device.mount_command()).refuses(&["token"]);
    fs::remove_file(device.token_file()).expect("ours");
    finish(device.mount_command()).refuses(&["token"]);
}

#[test]
fn a_question_about_a_directory_that_is_not_mounted_is_refused() {
    let house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    for question in ["status", "wait", "unmount"] {
        finish(device.heirloom([Path::new(question), &device.mountpoint()])).refuses(&["mounted"]);
    }
}

#[test]
fn a_file_name_that_is_not_utf8_is_refused_with_eilseq() {
    let house = House::new();
    let device = house.device_of("anna");
    let name = OsStr::from_bytes(b"caf\xe9.jpg");
    let refused = [
        fs::write(device.path(name), b"\xff\xd8\xff").map(|()| "create"),
        fs::create_dir(device.path(name)).map(|()| "mkdir"),
        std::os::unix::fs::symlink("elsewhere", device.path(name)).map(|()| "symlink"),
        fs::write(device.path("good.jpg"), b"\xff\xd8\xff")
            .and_then(|()| fs::rename(device.path("good.jpg"), device.path(name)))
            .map(|()| "rename"),
    ];
    for refused in refused {
        assert_eq!(
            refused.expect_err("not UTF-8").raw_os_error(),
            Some(libc::EILSEQ)
        );
    }
    assert_eq!(
        fs::read_dir(device.mountpoint()).expect("a folder").count(),
        1,
        "only the good name is there"
    );
}

#[test]
fn a_hard_link_is_refused_with_eperm() {
    let house = House::new();
    let device = house.device_of("anna");
    fs::write(device.path("one.jpg"), b"\xff\xd8\xff").expect("writable");
    let refused =
        fs::hard_link(device.path("one.jpg"), device.path("two.jpg")).expect_err("refused");
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
}
