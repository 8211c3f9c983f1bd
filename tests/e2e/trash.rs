//! What a hostile client with all the rights of its owner can do to a library, and how everything
//! is restored.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use heirloom_protocol::Fingerprint;

use crate::command::{CommandOutput, output_of};
use crate::device::Device;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

const PHOTOS: usize = 12;

fn restore(device: &Device, path: &str, more: &[&str]) -> CommandOutput {
    let mut command = device.heirloom(["restore"]);
    command.arg(device.path(path)).args(more);
    output_of(command)
}

fn all(device: &Device) -> BTreeSet<Fingerprint> {
    device
        .contents()
        .into_iter()
        .map(|(_, image)| image)
        .collect()
}

/// Overwrites a photo with another one, with noise, under another name, or not at all, and removes
/// the rest.
fn attack(installation: &mut Installation, device: &Device, number: usize) {
    let path = device.path(format!("{number}.jpg"));
    match number % 4 {
        0 => fs::write(&path, installation.generator.generate(20_000))
            .expect("overwritten by a photo"),
        1 => fs::write(&path, vec![0xA5; 20_000]).expect("overwritten by noise"),
        2 => {
            fs::rename(&path, device.path(format!("{number}.locked.jpg"))).expect("renamed");
            fs::write(
                device.path(format!("{number}.locked.jpg")),
                installation.generator.generate(20_000),
            )
            .expect("overwritten");
        }
        _ => fs::remove_file(&path).expect("removed"),
    }
}

#[test]
fn photos_that_a_hostile_client_overwrites_or_removes_are_restored_bit_for_bit() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    for number in 0..PHOTOS {
        fs::write(
            device.path(format!("{number}.jpg")),
            installation.generator.generate(30_000),
        )
        .expect("a photo");
    }
    device.wait();
    let (before, standing) = (all(&device), installation.client(&anna).library());
    assert_eq!(before.len(), PHOTOS);

    let attacked = Instant::now();
    (0..PHOTOS).for_each(|number| attack(&mut installation, &device, number));
    device.wait();
    for (path, _) in device.contents() {
        fs::remove_file(device.path(path)).expect("removed");
    }
    eventually(SOON, "the library is empty", || {
        installation.client(&anna).library().is_empty()
    });

    let ago = format!("{}s", attacked.elapsed().as_secs() + 1);
    restore(&device, "", &["--ago", &ago]).succeeds();
    eventually(SOON, "all are shown again", || {
        device.status().files("placeholder") == PHOTOS as u64
    });
    assert_eq!(all(&device), before, "bit for bit");
    for (path, image) in installation.client(&anna).library() {
        assert!(
            standing.get(&path) == Some(&image) || path.ends_with(".locked.jpg"),
            "{path} is where it was"
        );
    }
}

#[test]
fn one_version_is_restored_without_a_mount_until_the_administrator_purges_it() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (first, second) = (
        installation.generator.generate(30_000),
        installation.generator.generate(30_000),
    );
    for photo in [&first, &second] {
        fs::write(device.path("a.jpg"), photo).expect("a photo");
        device.wait();
    }
    device.unmount();
    let trash = |words: &[&str]| {
        let mut command = device.heirloom(["trash", "list"]);
        command.args(words);
        output_of(command).succeeds()
    };
    let listed: serde_json::Value = serde_json::from_str(&trash(&["--json"])).expect("JSON");
    let lost = &listed["photos"][0];
    assert_eq!(
        (lost["path"].as_str(), lost["photo"]["size"].as_u64()),
        (Some("a.jpg"), Some(30_000))
    );
    let version = lost["version"].to_string();
    restore(&device, "a.jpg", &["--version", "999"]).fails_with(&["nothing", "trash"]);
    restore(&device, "a.jpg", &["--version", &version]).succeeds();
    assert_eq!(
        installation.client(&anna).library()["a.jpg"],
        Fingerprint::of(&first)
    );

    // The photo that the restore replaced is in the trash now. Names of the server and of library
    // paths work, too.
    let named = format!("http://{}", installation.server.address());
    let mut command = device.heirloom(["restore", "a.jpg", "--server", &named, "--token-file"]);
    command.arg(device.token_file());
    output_of(command).succeeds();
    assert_eq!(
        installation.client(&anna).library()["a.jpg"],
        Fingerprint::of(&second)
    );

    assert_eq!(
        installation
            .server
            .admin(&["trash", "purge", "--user", "anna", "--older", "1d"])
            .succeeds(),
        "purged 0 photos\nfreed 0 images, 0 bytes\n"
    );
    assert!(trash(&[]).contains("a.jpg"));
    let purged = installation
        .server
        .admin(&["trash", "purge", "--user", "anna"])
        .succeeds();
    assert!(
        purged.starts_with("purged 3 photos\nfreed 0 images, 0 bytes\n1 more, 30000 bytes, "),
        "{purged}"
    );
    assert_eq!(trash(&[]), "nothing in the trash\n");
    restore(&device, "a.jpg", &["--version", &version]).fails_with(&["nothing", "trash"]);
    device.mount();
    eventually(SOON, "what stands is shown", || {
        fs::read(device.path("a.jpg")).is_ok_and(|shown| shown == second)
    });
}

#[test]
fn unreferenced_images_leave_the_disk_and_referenced_images_stay() {
    let mut installation = Installation::new();
    let (anna, ben) = (installation.user("anna"), installation.user("ben"));
    let mut device = installation.device(&anna, "laptop");
    let bens = installation.device(&ben, "tablet");
    // One photo that only Anna had and removed; one that she removed and Ben kept; one in her
    // trash; one in her library under another name.
    let photos = ["gone.jpg", "bens.jpg", "trashed.jpg", "stands.jpg"]
        .map(|name| installation.photo(name, 100_000));
    for (photo, _) in &photos {
        device.copy_in(photo);
    }
    bens.copy_in(&photos[1].0);
    fs::copy(&photos[3].0, device.path("again.jpg")).expect("copied");
    device.wait();
    bens.wait();
    eventually(SOON, "all names are known", || {
        installation.client(&anna).library().len() == 5
    });
    let removed = ["gone.jpg", "bens.jpg", "stands.jpg"];
    for name in removed {
        fs::remove_file(device.path(name)).expect("removed");
    }
    eventually(SOON, "they are known to be removed", || {
        installation.client(&anna).library().len() == 2
    });

    let purge = |installation: &Installation, words: &[&str]| {
        installation
            .server
            .admin(&[&["trash", "purge"], words].concat())
            .succeeds()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let said: Vec<String> = purge(&installation, &["--user", "anna"]);
    assert_eq!(said[..2], ["purged 3 photos", "freed 0 images, 0 bytes"]);
    assert!(
        said[2].starts_with("1 more, 100000 bytes, "),
        "the others are had: {said:?}"
    );
    assert_eq!(installation.server.images().len(), 4);
    fs::remove_file(device.path("trashed.jpg")).expect("removed");
    eventually(SOON, "it is in the trash", || {
        installation.client(&anna).library().len() == 1
    });
    let said: Vec<String> = purge(&installation, &["--older", "1d", "--grace", "0s"]);
    assert_eq!(
        said,
        ["purged 0 photos", "freed 1 images, 100000 bytes"],
        "beside a running server"
    );
    assert_eq!(
        installation
            .server
            .images()
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        sorted([photos[1].1, photos[2].1, photos[3].1])
    );

    // The same while the server is stopped; afterwards everything that is still referenced is
    // there.
    device.unmount();
    installation.server.stop();
    let said: Vec<String> = purge(&installation, &["--grace", "0s"]);
    assert_eq!(said, ["purged 1 photos", "freed 1 images, 100000 bytes"]);
    installation.server.start_again();
    assert_eq!(
        installation
            .server
            .images()
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        sorted([photos[1].1, photos[3].1])
    );
    for (person, image) in [(&ben, photos[1].1), (&anna, photos[3].1)] {
        assert!(installation.client(person).image(image).is_some());
    }
    // A client that still has the bytes uploads them again.
    device.mount();
    device.copy_in(&photos[0].0);
    device.wait();
    assert!(installation.client(&anna).image(photos[0].1).is_some());
}

fn sorted<const N: usize>(mut images: [Fingerprint; N]) -> Vec<Fingerprint> {
    images.sort();
    images.to_vec()
}
