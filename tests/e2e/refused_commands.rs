//! Commands that cannot work are refused with one clear sentence and a non-zero exit code.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::command::output_of;
use crate::installation::Installation;

#[test]
fn a_mount_over_something_that_is_not_an_empty_directory_is_refused() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    fs::write(device.path("mine.txt"), "mine").expect("writable");
    output_of(device.mount_command()).fails_with(&["empty"]);
    assert_eq!(
        fs::read_to_string(device.path("mine.txt")).expect("untouched"),
        "mine"
    );

    fs::remove_file(device.path("mine.txt")).expect("ours");
    fs::remove_dir(device.mountpoint()).expect("ours");
    fs::write(device.mountpoint(), "a file").expect("writable");
    output_of(device.mount_command()).fails_with(&["directory"]);
    fs::remove_file(device.mountpoint()).expect("ours");
    output_of(device.mount_command()).fails_with(&["mount"]);
}

#[test]
fn a_second_mount_in_the_same_place_is_refused() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    output_of(device.mount_command()).fails_with(&["in use"]);
    let mut elsewhere = device.heirloom([
        Path::new("mount"),
        &device.mountpoint(),
        Path::new("--foreground"),
    ]);
    output_of({
        elsewhere
            .arg("--state")
            .arg(installation.scratch_folder("other"));
        elsewhere
    })
    .fails_with(&["already"]);
    fs::write(device.path("still.txt"), "here").expect("the first mount is unharmed");
}

#[test]
fn a_missing_or_empty_token_file_is_refused() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    device.log_in("");
    output_of(device.mount_command()).fails_with(&["token"]);
    fs::remove_file(device.token_file()).expect("ours");
    output_of(device.mount_command()).fails_with(&["token"]);
}

#[test]
fn commands_on_a_directory_that_is_not_mounted_are_refused() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    for question in ["status", "wait", "unmount"] {
        output_of(device.heirloom([Path::new(question), &device.mountpoint()]))
            .fails_with(&["mounted"]);
    }
}

#[test]
fn a_file_name_that_is_not_utf8_is_refused_with_eilseq() {
    let installation = Installation::new();
    let device = installation.device_of_new_user("anna");
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
    let installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    fs::write(device.path("one.jpg"), b"\xff\xd8\xff").expect("writable");
    let refused =
        fs::hard_link(device.path("one.jpg"), device.path("two.jpg")).expect_err("refused");
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
}
