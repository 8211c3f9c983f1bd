//! A full client disk: the writer gets an error at once, backed-up photos are freed, and nothing
//! truncated is ever backed up as complete.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::{output_of, run};
use crate::disk_images::SmallDisk;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

#[test]
fn a_full_disk_frees_old_photos_and_backs_up_nothing_truncated() {
    for io in ["direct", "auto"] {
        let mut installation = Installation::new();
        let anna = installation.user("anna");
        let mut device = installation
            .unmounted_device(&anna, "anna")
            .with_options(&["--io", io]);
        let _disk = SmallDisk::new(
            &installation.scratch_folder("disk").join("image"),
            &device.state(),
            96 << 20,
        );
        device.mount();
        for number in 0..12 {
            let (photo, _) = installation.photo(&format!("{number}.jpg"), 10_000_000);
            device.copy_in(&photo);
            device.wait();
        }
        assert!(
            device.status().files("placeholder") >= 4,
            "{io}: 120 MB do not fit on 96 MB"
        );
        installation.server.stop();
        let (mut refused, mut kept) = (Vec::new(), Vec::new());
        for number in 0..12 {
            let (photo, fingerprint) =
                installation.photo(&format!("late-{number}.jpg"), 10_000_001);
            let begun = Instant::now();
            let copied = run("cp", [photo.as_path(), &device.mountpoint()]);
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{io}: {:?}",
                begun.elapsed()
            );
            if copied.code == 0 {
                kept.push((number, fingerprint));
            } else {
                refused.push((number, copied));
            }
        }
        assert!(
            !refused.is_empty(),
            "{io}: what is not backed up makes no room"
        );
        assert!(
            refused
                .iter()
                .all(|(_, copied)| copied.stderr.contains("No space left")),
            "{io}: {refused:?}"
        );
        assert!(
            !kept.is_empty(),
            "{io}: what the server has made room first"
        );
        installation.server.start_again();
        for (number, fingerprint) in kept {
            device.wait_for(&[&format!("late-{number}.jpg")]);
            let listed = || {
                installation
                    .client(&anna)
                    .library()
                    .get(&format!("late-{number}.jpg"))
                    == Some(&fingerprint)
            };
            eventually(SOON, "the library lists it", listed);
        }
        let library = installation.client(&anna).library();
        for (number, _) in &refused {
            let name = format!("late-{number}.jpg");
            assert_eq!(
                library.get(&name),
                None,
                "{io}: half of a photo is not a photo"
            );
            if device.path(&name).exists() {
                assert_ne!(device.attribute(&name, "state"), "backed_up", "{io}");
            }
        }
        for number in 0..12 {
            let name = format!("{number}.jpg");
            let original = heirloom_protocol::Fingerprint::of(
                &fs::read(installation.scratch_folder("camera").join(&name)).expect("it"),
            );
            assert_eq!(
                library.get(&name),
                Some(&original),
                "{io}: what was backed up still is"
            );
        }
        device.unmount();
    }
}

#[test]
fn the_disk_reserve_stays_free() {
    const FLOOR: u64 = 40 << 20;
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation
        .unmounted_device(&anna, "anna")
        .with_options(&["--keep-free", "40MiB"]);
    let _disk = SmallDisk::new(
        &installation.scratch_folder("disk").join("image"),
        &device.state(),
        96 << 20,
    );
    device.mount();
    let free = || {
        let disk = rustix::fs::statvfs(device.state()).expect("a disk");
        disk.f_bavail * disk.f_frsize
    };
    assert!(
        free() > FLOOR + 10_000_000,
        "there is room for a photo at the start: {}",
        free()
    );
    for number in 0..6 {
        let (photo, _) = installation.photo(&format!("{number}.jpg"), 10_000_000);
        device.copy_in(&photo);
        device.wait();
    }
    eventually(SOON, "the floor is kept", || free() >= FLOOR);
    assert!(
        device.status().files("backed_up") >= 1,
        "and no more was freed than that"
    );
    let original =
        fs::read(installation.scratch_folder("camera").join("0.jpg")).expect("the original");
    assert!(fs::read(device.path("0.jpg")).expect("it comes back") == original);
    eventually(SOON, "another makes room for what came back", || {
        free() >= FLOOR
    });
    device.unmount();
}

#[test]
fn a_completely_full_disk_can_be_mounted_and_freed() {
    for io in ["direct", "auto"] {
        let mut installation = Installation::new();
        let anna = installation.user("anna");
        let mut device = installation
            .unmounted_device(&anna, "anna")
            .with_options(&["--io", io]);
        let disk = SmallDisk::new(
            &installation.scratch_folder("disk").join("image"),
            &device.state(),
            96 << 20,
        );
        device.mount();
        let photos: Vec<_> = (0..5)
            .map(|number| installation.photo(&format!("{number}.jpg"), 2_000_000))
            .collect();
        for (photo, _) in &photos {
            device.copy_in(photo);
        }
        device.wait();
        device.unmount();
        let reserve = device.state().join("reserve");
        assert!(reserve.exists(), "{io}: room is kept for this");
        let filler = disk.fill();
        device.mount();
        assert!(!reserve.exists(), "{io}: and given up");
        for (number, (photo, _)) in photos.iter().enumerate() {
            let here = fs::read(device.path(format!("{number}.jpg"))).expect("it is here");
            assert!(
                here == fs::read(photo).expect("the original"),
                "{io}: {number}"
            );
        }
        assert_eq!(device.status().files("backed_up"), 5, "{io}");
        output_of(device.heirloom([Path::new("free"), &device.mountpoint()])).succeeds();
        eventually(SOON, "they gave their room up", || {
            device.status().files("placeholder") == 5
        });
        // Freeing five photos made space for three.
        for number in 5..8 {
            device.copy_in(&installation.photo(&format!("{number}.jpg"), 2_000_000).0);
        }
        device.wait();
        assert_eq!(device.status().files("backed_up"), 3, "{io}");
        fs::remove_file(filler).expect("our own file");
        device.unmount();
        device.mount();
        assert!(
            reserve.exists(),
            "{io}: and kept again when there is plenty"
        );
        device.unmount();
    }
}
