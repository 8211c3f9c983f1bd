//! The programs that people copy with: each leaves the same files in the mount and on the server.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::command::run;
use crate::device::{Device, fingerprints_below};
use crate::installation::{Installation, User};

/// An installation, a user with a mounted device, and an album of photos outside the mount.
fn installation_with_album(photos: usize) -> (Installation, User, Device, PathBuf) {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, photos)
        .expect("an album");
    let device = installation.device(&anna, "laptop");
    (installation, anna, device, album)
}

#[track_caller]
fn all_is_there(installation: &Installation, anna: &User, device: &Device, album: &Path, at: &str) {
    device.wait();
    assert_eq!(
        fingerprints_below(&device.path(at)),
        fingerprints_below(album),
        "the mount shows what was copied"
    );
    installation.assert_backed_up(album, anna, &format!("{at}/"));
}

#[test]
fn cp_r_backs_up_500_photos_in_nested_folders() {
    let (installation, anna, device, album) = installation_with_album(500);
    run("cp", [Path::new("-r"), &album, &device.mountpoint()]).succeeds();
    all_is_there(&installation, &anna, &device, &album, "album");
    assert_eq!(device.status().files("backed_up"), 500);
}

#[test]
fn cp_p_keeps_times_and_modes() {
    let (installation, anna, device, album) = installation_with_album(12);
    let taken = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    for file in crate::server::files_below(&album) {
        fs::File::options()
            .write(true)
            .open(&file)
            .expect("a photo")
            .set_modified(taken)
            .expect("a time");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    }
    run("cp", [Path::new("-rp"), &album, &device.mountpoint()]).succeeds();
    all_is_there(&installation, &anna, &device, &album, "album");
    for file in crate::server::files_below(&device.path("album")) {
        let kept = fs::metadata(&file).expect("a file of the mount");
        assert_eq!(
            kept.modified().expect("a time"),
            taken,
            "{}",
            file.display()
        );
        assert_eq!(kept.mode() & 0o7777, 0o640, "{}", file.display());
    }
    let feed = installation
        .client(&anna)
        .get("/v1/library/changes?since=0&wait=0");
    let feed = String::from_utf8(feed.body).expect("JSON");
    assert_eq!(
        feed.matches("1234567890123456789").count(),
        12,
        "the library knows the times: {feed}"
    );
}

#[test]
fn rsync_a_copies_once() {
    let (installation, anna, device, album) = installation_with_album(40);
    let rsync = || {
        let (from, to) = (
            format!("{}/", album.display()),
            format!("{}/", device.path("album").display()),
        );
        run("rsync", ["-a", "--stats", &from, &to]).succeeds()
    };
    fs::create_dir(device.path("album")).expect("mkdir");
    rsync();
    all_is_there(&installation, &anna, &device, &album, "album");
    let sent = device.status().sent();
    let stats = rsync();
    assert!(
        stats.contains("Number of regular files transferred: 0"),
        "the second run copies nothing: {stats}"
    );
    device.wait();
    assert_eq!(device.status().sent(), sent, "nor is anything sent");
}

#[test]
fn gio_copies_as_a_file_manager_does() {
    let (installation, anna, device, album) = installation_with_album(10);
    fs::create_dir(device.path("album")).expect("mkdir");
    for (path, _) in fingerprints_below(&album) {
        let target = device.path("album").join(&path);
        fs::create_dir_all(target.parent().expect("a folder")).expect("mkdir -p");
        run("gio", [Path::new("copy"), &album.join(&path), &target]).succeeds();
    }
    all_is_there(&installation, &anna, &device, &album, "album");
}

#[test]
fn a_save_by_rename_is_one_photo_with_the_new_content() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (first, _) = installation.photo("photo.jpg", 80_000);
    device.copy_in(&first);
    device.wait();

    let edited = installation.generator.generate(90_000);
    let temporary = device.path(".goutputstream-AB12CD");
    fs::write(&temporary, &edited).expect("writable");
    fs::rename(&temporary, device.path("photo.jpg")).expect("rename over");
    device.wait();

    let wanted = heirloom_protocol::Fingerprint::of(&edited);
    let library: Vec<_> = installation.client(&anna).library().into_iter().collect();
    assert_eq!(library, [("photo.jpg".to_owned(), wanted)]);
    assert_eq!(
        device.attribute("photo.jpg", "fingerprint"),
        wanted.to_string()
    );
    assert_eq!(device.status().files("backed_up"), 1);
}

#[test]
fn temporary_files_are_ignored_until_they_are_renamed() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let names = [
        ".goutputstream-X1",
        ".photo.jpg.a1B2c3",
        "photo.jpg.part",
        "photo.crdownload",
        ".~lock.photo.jpg#",
    ];
    let photos: Vec<_> = names
        .iter()
        .map(|_| installation.generator.generate(20_000))
        .collect();
    for (name, photo) in names.iter().zip(&photos) {
        fs::write(device.path(name), photo).expect("writable");
    }
    device.wait();
    assert_eq!(device.status().files("local"), names.len() as u64);
    assert_eq!(
        installation.server.images().len(),
        0,
        "nothing under a temporary name is sent"
    );

    for (number, name) in names.iter().enumerate() {
        fs::rename(device.path(name), device.path(format!("{number}.jpg"))).expect("rename");
    }
    device.wait();
    assert_eq!(installation.server.images().len(), names.len());
    assert_eq!(installation.client(&anna).library().len(), names.len());
}

#[test]
fn exiftool_rewrites_in_place_and_by_rename() {
    for (overwrite, files) in [
        ("-overwrite_original_in_place", 1),
        ("-overwrite_original", 1),
        ("-P", 2),
    ] {
        let installation = Installation::new();
        let anna = installation.user("anna");
        let device = installation.device(&anna, "laptop");
        let (_, real) = crate::sample_photos::real_pictures().swap_remove(0);
        fs::write(device.path("photo.jpg"), real).expect("writable");
        device.wait();
        let path = device.path("photo.jpg");
        run(
            "exiftool",
            [
                overwrite,
                "-Artist=Anna",
                path.to_str().expect("a plain path"),
            ],
        )
        .succeeds();
        device.wait();

        let rewritten = heirloom_protocol::Fingerprint::of(&fs::read(&path).expect("readable"));
        assert_eq!(
            installation.client(&anna).library().get("photo.jpg"),
            Some(&rewritten),
            "{overwrite}"
        );
        // Unless told to overwrite, exiftool keeps the original beside the new file.
        assert_eq!(
            installation.client(&anna).library().len(),
            files,
            "{overwrite}"
        );
        assert!(
            installation.server.images().contains_key(&rewritten),
            "{overwrite}"
        );
    }
}
