//! An ordinary user: mounts through fusermount3, cannot pass files to the kernel, and has everything else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use heirloom_protocol::Fingerprint;

use crate::command::finish;
use crate::device::PROGRAM;
use crate::house::House;
use crate::waiting::{SOON, eventually};

/// `nobody` on most systems; nothing of the machine belongs to it.
const NOBODY: u32 = 65_534;

/// In a world of mounts of its own, where `/dev/fuse` may be used by everybody, as systems with fuse3 have it (some containers do not).
const AS_NOBODY: &str = r#"
set -e
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
exec setpriv --reuid=65534 --regid=65534 --clear-groups sh "$1/ordinary.sh" "$1/home" "$1/heirloom" "$2"
"#;

#[test]
fn an_ordinary_user_mounts_and_has_everything_but_passthrough() {
    let mut house = House::new();
    let anna = house.person("anna");
    let (photo, _) = house.photo("photo.jpg", 2_000_000);
    // The house is closed to others.
    let place = tempfile::Builder::new().prefix("heirloom-ordinary-").tempdir().expect("a folder");
    let home = place.path().join("home");
    fs::create_dir_all(home.join("mount")).expect("a mountpoint");
    fs::write(home.join("token"), &anna.token).expect("a token");
    fs::copy(photo, home.join("photo.jpg")).expect("a photo");
    fs::copy(PROGRAM, place.path().join("heirloom")).expect("the program");
    fs::write(place.path().join("ordinary.sh"), include_str!("ordinary.sh")).expect("a script");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("open to others");
    for theirs in ["", "mount", "token", "photo.jpg"] {
        chown(home.join(theirs), Some(NOBODY), Some(NOBODY)).expect("this test needs root, to be somebody else");
    }
    let mut command = Command::new("timeout");
    command.args(["60", "unshare", "--mount", "--propagation", "private", "sh", "-c", AS_NOBODY, "sh"]);
    command.arg(place.path()).arg(format!("http://{}", house.server.address()));
    let said = finish(command).succeeds();
    for found in [
        "owner 65534",
        "read back",
        "mode 640",
        "not given away",
        "time 981173106",
        "closed to its owner, too",
        "written in place",
        "backed_up",
        "placeholder",
        "\"io_path\": \"direct\"",
        "unmounted",
    ] {
        assert!(said.contains(found), "{found:?} should stand in {said}");
    }
    let back = Fingerprint::of(&fs::read(home.join("back.jpg")).expect("it was copied back"));
    assert!(said.contains(&back.to_string()));
    eventually(SOON, "it is in the library", || house.ask(&anna).library().get("trip/b.jpg") == Some(&back));
    assert!(!Path::new(&home).join("mount/trip").exists());
}
