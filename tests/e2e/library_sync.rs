//! One library on several devices: each shows the changes of the others.

use std::fs;
use std::path::Path;

use crate::command::run;
use crate::device::{Device, fingerprints_below};
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

#[track_caller]
fn shows(device: &Device, name: &str, state: &str) {
    let within = format!("{name} is {state}");
    eventually(SOON, &within, || {
        device.path(name).exists() && device.attribute(name, "state") == state
    });
}

#[test]
fn a_new_device_shows_the_whole_library_and_fetches_what_is_read() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let first = installation.device(&anna, "first");
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, 120)
        .expect("an album");
    run("cp", [Path::new("-r"), &album, &first.path("album")]).succeeds();
    first.wait();
    let mut second = installation.device(&anna, "second");
    eventually(SOON, "the whole library is shown", || {
        second.status().files("placeholder") == 120
    });
    assert_eq!(second.status().number("/recall/fetched_bytes"), 0);
    assert_eq!(
        fingerprints_below(&second.path("album")),
        fingerprints_below(&album),
        "and it can be read"
    );
    // With an empty spool it shows the library again.
    second.unmount();
    fs::remove_dir_all(second.state().join("spool")).expect("a spool");
    second.mount();
    eventually(SOON, "the library is shown again", || {
        second.status().files("placeholder") == 120
    });
    assert_eq!(
        installation.client(&anna).library().len(),
        120,
        "and nothing was taken from it"
    );
}

#[test]
fn changes_on_one_device_show_on_the_other() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (one, two) = (
        installation.device(&anna, "one"),
        installation.device(&anna, "two"),
    );
    let (photo, _) = installation.photo("a.jpg", 300_000);
    one.copy_in(&photo);
    shows(&two, "a.jpg", "placeholder");
    assert_eq!(
        fs::read(two.path("a.jpg")).expect("it comes"),
        fs::read(&photo).expect("the original")
    );
    shows(&two, "a.jpg", "backed_up");
    fs::create_dir(one.path("trip")).expect("a folder");
    fs::rename(one.path("a.jpg"), one.path("trip/b.jpg")).expect("a rename");
    shows(&two, "trip/b.jpg", "placeholder");
    eventually(SOON, "the old name is gone", || !two.path("a.jpg").exists());
    let (edited, fingerprint) = installation.photo("edited.jpg", 200_000);
    fs::copy(&edited, one.path("trip/b.jpg")).expect("an edit");
    // In one call: between two calls the old photo may be gone and the new one not there yet.
    let edit_shows = || {
        let mut shown = [0; 128];
        let length = rustix::fs::getxattr(
            two.path("trip/b.jpg"),
            "user.heirloom.fingerprint",
            &mut shown[..],
        );
        length.is_ok_and(|length| shown[..length] == *fingerprint.to_string().as_bytes())
    };
    eventually(SOON, "the edit is shown", edit_shows);
    assert_eq!(
        fs::read(two.path("trip/b.jpg")).expect("it comes"),
        fs::read(&edited).expect("the original")
    );
    fs::remove_file(two.path("trip/b.jpg")).expect("a removal");
    eventually(
        SOON,
        "it is gone from the other, and the folder that it was alone in",
        || !one.path("trip").exists(),
    );
    assert_eq!(installation.client(&anna).library().len(), 0);
}

#[test]
fn an_open_folder_shows_photos_added_by_another_device() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (one, two) = (
        installation.device(&anna, "one"),
        installation.device(&anna, "two"),
    );
    fs::create_dir(one.path("trip")).expect("a folder");
    let (photo, _) = installation.photo("a.jpg", 100_000);
    fs::copy(&photo, one.path("trip/a.jpg")).expect("a copy");
    shows(&two, "trip/a.jpg", "placeholder");
    let mut folder =
        rustix::fs::Dir::read_from(fs::File::open(two.path("trip")).expect("a folder"))
            .expect("a list");
    let mut names = || {
        folder.rewind();
        let names: Result<Vec<_>, _> = std::iter::from_fn(|| folder.read()).collect();
        names.expect("a list").len() - [".", ".."].len()
    };
    assert_eq!([names(), names()], [1, 1]);
    let (photo, _) = installation.photo("b.jpg", 100_000);
    fs::copy(&photo, one.path("trip/b.jpg")).expect("a copy");
    eventually(SOON, "the new name is in the list", || names() == 2);
    fs::remove_file(one.path("trip/a.jpg")).expect("a removal");
    eventually(SOON, "the old one is not", || names() == 1);
}

#[test]
fn a_time_set_on_one_device_shows_on_the_other_with_or_without_local_bytes() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let (one, two) = (
        installation.device(&anna, "one"),
        installation.device(&anna, "two"),
    );
    let photos: Vec<_> = ["fetched.jpg", "placeholder.jpg"]
        .map(|name| installation.photo(name, 200_000).0)
        .into();
    for photo in &photos {
        one.copy_in(photo);
    }
    shows(&two, "placeholder.jpg", "placeholder");
    shows(&two, "fetched.jpg", "placeholder");
    fs::read(two.path("fetched.jpg")).expect("it comes");
    shows(&two, "fetched.jpg", "backed_up");
    let taken = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
    for (name, state) in [
        ("fetched.jpg", "backed_up"),
        ("placeholder.jpg", "placeholder"),
    ] {
        let file = fs::File::open(one.path(name)).expect("a photo");
        file.set_modified(taken).expect("a time");
        let time = || {
            fs::metadata(two.path(name))
                .and_then(|facts| facts.modified())
                .expect("a time")
        };
        eventually(SOON, &format!("{name} has the time"), || time() == taken);
        assert_eq!(two.attribute(name, "state"), state);
    }
    two.wait();
    assert_eq!(two.status().sent(), 0, "it is no change of theirs");
    assert_eq!(
        fs::read(two.path("placeholder.jpg")).expect("it comes"),
        fs::read(&photos[1]).expect("the original")
    );
}

#[test]
fn two_photos_with_one_name_are_both_kept_and_shown_on_both_devices() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    let one = installation.device(&anna, "one");
    let mut two = installation.device_over_link(&anna, "two", &link);
    two.mount();
    link.disconnect();
    let (first, _) = installation.photo("first.jpg", 300_000);
    let (second, _) = installation.photo("second.jpg", 200_000);
    fs::copy(&first, one.path("a.jpg")).expect("a copy");
    fs::copy(&second, two.path("a.jpg")).expect("a copy");
    one.wait();
    link.reconnect();
    let second_name = "a (from another device).jpg";
    for device in [&two, &one] {
        eventually(SOON * 2, "both are shown", || {
            device.path(second_name).exists() && device.path("a.jpg").exists()
        });
        let same =
            |name: &str, photo: &Path| fs::read(device.path(name)).ok() == fs::read(photo).ok();
        eventually(SOON, "each under its name", || {
            same("a.jpg", &second) && same(second_name, &first)
        });
    }
    two.wait();
    assert_eq!(two.status().number("/library/conflicts"), 1);
    assert_eq!(
        installation.client(&anna).library().len(),
        2,
        "the library has both"
    );
}

#[test]
fn existing_local_files_are_kept_as_they_are() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let one = installation.device(&anna, "one");
    let (photo, _) = installation.photo("a.jpg", 300_000);
    one.copy_in(&photo);
    one.wait();
    let mut two = installation.unmounted_device(&anna, "two");
    let spool = two.state().join("spool");
    fs::create_dir_all(&spool).expect("a spool");
    fs::set_permissions(
        two.state(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("our own folder");
    run("cp", [Path::new("-p"), &photo, &spool.join("a.jpg")]).succeeds();
    two.mount();
    two.wait();
    assert_eq!(two.attribute("a.jpg", "state"), "backed_up");
    assert_eq!(two.status().files("placeholder"), 0);
    assert_eq!(two.status().sent(), 0, "the server knows it");
    assert_eq!(installation.client(&anna).library().len(), 1);
}

#[test]
fn a_devices_own_changes_are_not_sent_back_to_it() {
    const PHOTOS: usize = 200;
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, PHOTOS)
        .expect("an album");
    run("cp", [Path::new("-r"), &album, &device.path("first")]).succeeds();
    device.wait();
    let before = link.bytes_to_device();
    run("cp", [Path::new("-r"), &album, &device.path("again")]).succeeds();
    device.wait();
    // Each name that was sent back would be 180 bytes more.
    let heard = link.bytes_to_device() - before;
    assert!(
        heard < PHOTOS as u64 * 100,
        "{heard} bytes for {PHOTOS} names"
    );
    eventually(SOON, "the feed is followed to its end", || {
        device.status().number("/library/position") == 2 * PHOTOS as u64
    });
    let elsewhere = installation.device(&anna, "phone");
    eventually(SOON, "others hear of them", || {
        elsewhere.status().files("placeholder") == 2 * PHOTOS as u64
    });
}
