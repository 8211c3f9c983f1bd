//! Pinned photos are fetched by themselves, and stay.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::command::{output_of, run};
use crate::device::Device;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

/// Bytes of a photo that is fetched in several ranges.
const LARGE: usize = 3_000_000;

impl Device {
    #[track_caller]
    fn pin(&self, path: &str) {
        output_of(self.heirloom([Path::new("pin"), &self.path(path)])).succeeds();
    }

    fn pinned_left(&self) -> (u64, u64) {
        let status = self.status();
        (
            status.number("/recall/pinned_left/files"),
            status.number("/recall/pinned_left/bytes"),
        )
    }
}

#[test]
fn pinned_photos_are_fetched_despite_interruptions() {
    let mut installation = Installation::new();
    let person = installation.user("anna");
    let mut device = installation
        .unmounted_device(&person, "anna")
        .with_options(&["--read-timeout", "1"]);
    device.mount();
    fs::create_dir(device.path("keep")).expect("a folder");
    for name in ["keep/a.jpg", "keep/b.jpg", "other.jpg"] {
        let (file, _) = installation.photo(
            Path::new(name)
                .file_name()
                .expect("a name")
                .to_str()
                .expect("plain"),
            LARGE,
        );
        fs::copy(file, device.path(name)).expect("a copy");
    }
    device.wait();
    output_of(device.heirloom([Path::new("free"), &device.mountpoint()])).succeeds();
    assert_eq!(device.status().files("placeholder"), 3);
    installation.server.stop();
    device.pin("keep");
    eventually(SOON, "status says what is to come", || {
        device.pinned_left() == (2, 2 * LARGE as u64)
    });
    eventually(SOON, "and why it does not", || {
        format!("{:?}", device.status()).contains("nothing came")
    });
    device.kill();
    installation.server.start_again();
    device.mount();
    eventually(SOON, "all that is pinned is here", || {
        device.status().files("placeholder") == 1
    });
    eventually(SOON, "and nothing is left to fetch", || {
        device.pinned_left() == (0, 0)
    });
    assert_eq!(device.attribute("other.jpg", "state"), "placeholder");
    installation.server.stop();
    for name in ["a.jpg", "b.jpg"] {
        let original =
            fs::read(installation.scratch_folder("camera").join(name)).expect("the original");
        assert!(
            fs::read(device.path("keep").join(name)).expect("it is here") == original,
            "{name}"
        );
    }
}

#[test]
fn photos_that_others_add_to_a_pinned_folder_are_fetched() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (one, two) = (
        installation.device(&anna, "one"),
        installation.device(&anna, "two"),
    );
    fs::create_dir_all(two.path("keep/here")).expect("folders");
    two.pin("keep");
    fs::create_dir_all(one.path("keep/here")).expect("folders");
    for name in ["keep/here/a.jpg", "elsewhere.jpg"] {
        let (photo, _) = installation.photo("photo.jpg", LARGE);
        run("cp", [photo.as_path(), &one.path(name)]).succeeds();
    }
    one.wait();
    let state = |name: &str| {
        two.path(name)
            .exists()
            .then(|| two.attribute(name, "state"))
    };
    eventually(SOON, "it is here", || {
        state("keep/here/a.jpg").as_deref() == Some("backed_up")
    });
    eventually(SOON, "the other is shown", || {
        state("elsewhere.jpg").as_deref() == Some("placeholder")
    });
}

#[test]
fn a_time_set_on_a_placeholder_reaches_the_library() {
    const TAKEN: Timespec = Timespec {
        tv_sec: 981_173_106,
        tv_nsec: 789_000_000,
    };
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "anna");
    let (photo, _) = installation.photo("a.jpg", LARGE);
    device.copy_in(&photo);
    device.wait();
    output_of(device.heirloom([Path::new("free"), &device.path("a.jpg")])).succeeds();
    let times = Timestamps {
        last_access: TAKEN,
        last_modification: TAKEN,
    };
    utimensat(CWD, device.path("a.jpg"), &times, AtFlags::empty()).expect("times");
    let in_library =
        || installation.client(&anna).mtime_of("a.jpg") == Some(981_173_106_789_000_000);
    eventually(SOON, "the library has the time", in_library);
    assert_eq!(
        device.attribute("a.jpg", "state"),
        "placeholder",
        "and nothing was fetched for that"
    );
    assert_eq!(
        fs::metadata(device.path("a.jpg"))
            .expect("it is shown")
            .mtime(),
        TAKEN.tv_sec
    );
}
