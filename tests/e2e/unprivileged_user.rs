//! An unprivileged user mounts through fusermount3 and has everything but passthrough, and that too
//! once an administrator has set up the helper.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use heirloom_protocol::Fingerprint;

use crate::command::{output_of, run};
use crate::device::PROGRAM;
use crate::disk_images::SmallDisk;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

/// `nobody` on most systems; it owns nothing on this machine.
const NOBODY: u32 = 65_534;

/// With less than 512 MiB free, files take the direct path.
const DISK_BYTES: u64 = 1 << 30;

/// In a mount namespace of its own, where everybody may use `/dev/fuse`, as on systems with fuse3
/// (some containers do not allow it). The helper, if there is one, gets its capability.
const AS_NOBODY: &str = r#"
set -e
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
if [ -e "$1/heirloom-passthrough" ]; then PATH="$PATH:/usr/sbin:/sbin" setcap cap_sys_admin=ep "$1/heirloom-passthrough"; fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups sh "$1/unprivileged_user.sh" "$1/home" "$1/heirloom" "$2"
"#;

const HELPER: &str = env!("CARGO_BIN_EXE_heirloom-passthrough");

/// What the script prints on every mount.
const EXPECTED: [&str; 10] = [
    "owner 65534",
    "read back",
    "mode 640",
    "not given away",
    "time 981173106",
    "closed to its owner, too",
    "written in place",
    "backed_up",
    "placeholder",
    "unmounted",
];

/// Runs the script as nobody, with these programs, and returns its output.
fn run_as_nobody(programs: &[&str]) -> String {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (photo, _) = installation.photo("photo.jpg", 2_000_000);
    // Other users may not enter the installation's folder. The test has a disk of its own:
    // passthrough needs a file system that supports it.
    let outside = tempfile::Builder::new()
        .prefix("heirloom-unprivileged-")
        .tempdir()
        .expect("a folder");
    let place = outside.path().join("disk");
    let _disk = SmallDisk::new(&outside.path().join("image"), &place, DISK_BYTES);
    let home = place.join("home");
    fs::create_dir_all(home.join("mount")).expect("a mountpoint");
    fs::write(home.join("token"), &anna.token).expect("a token");
    fs::copy(photo, home.join("photo.jpg")).expect("a photo");
    for program in programs {
        // Not by this process: a program that another test is just starting would hold the copy
        // open for writing until its execve(2), and the copy could not be run (ETXTBSY).
        run("cp", [Path::new(program), &place]).succeeds();
    }
    fs::write(
        place.join("unprivileged_user.sh"),
        include_str!("unprivileged_user.sh"),
    )
    .expect("a script");
    for open in [outside.path(), &place] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755)).expect("open to others");
    }
    for theirs in ["", "mount", "token", "photo.jpg"] {
        chown(home.join(theirs), Some(NOBODY), Some(NOBODY))
            .expect("this test needs root, to become another user");
    }
    let mut command = Command::new("timeout");
    command.args([
        "60",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        AS_NOBODY,
        "sh",
    ]);
    command
        .arg(&place)
        .arg(format!("http://{}", installation.server.address()));
    let said = output_of(command).succeeds();
    for expected in EXPECTED {
        assert!(said.contains(expected), "{expected:?} is missing in {said}");
    }
    let back = Fingerprint::of(&fs::read(home.join("back.jpg")).expect("it was copied back"));
    assert!(said.contains(&back.to_string()));
    eventually(SOON, "it is in the library", || {
        installation.client(&anna).library().get("trip/b.jpg") == Some(&back)
    });
    assert!(!home.join("mount/trip").exists());
    said
}

#[test]
fn an_unprivileged_user_has_everything_but_passthrough() {
    let said = run_as_nobody(&[PROGRAM]);
    assert!(said.contains("\"io_path\": \"direct\""), "{said}");
    assert!(!said.contains("helper runs"), "{said}");
}

#[test]
fn the_helper_gives_an_unprivileged_user_passthrough_and_its_death_goes_unnoticed() {
    let said = run_as_nobody(&[PROGRAM, HELPER]);
    for expected in [
        "\"io_path\": \"passthrough\"",
        "read without a helper",
        "another helper runs",
    ] {
        assert!(said.contains(expected), "{expected:?} is missing in {said}");
    }
}
