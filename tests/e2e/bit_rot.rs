//! Bit rot: images that the server's disk damaged or lost are found, quarantined, requested again
//! and repaired, without anyone doing anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::ServerStatus;
use heirloom_protocol::route;

use crate::command::output_of;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;
use crate::server::files_below;

/// The path of a stored image.
fn stored_path(installation: &Installation, image: Fingerprint) -> PathBuf {
    let name = image.to_string();
    installation
        .server
        .data()
        .join("images")
        .join(&name[..2])
        .join(name)
}

/// Changes one byte of a stored image and returns the original bytes.
fn corrupt(installation: &Installation, image: Fingerprint, at: usize) -> Vec<u8> {
    let (path, whole) = (
        stored_path(installation, image),
        fs::read(stored_path(installation, image)).expect("a stored image"),
    );
    let mut rotten = whole.clone();
    rotten[at] ^= 0x10;
    fs::write(path, rotten).expect("a disk that forgets");
    whole
}

#[test]
fn a_corrupt_image_is_found_and_repaired() {
    let mut installation = Installation::new();
    installation
        .server
        .with_options(&["--scrub-every", "1s", "--scrub-rate", "100"]);
    let anna = installation.user("anna");
    let (keeper, looker) = (
        installation.device(&anna, "keeper"),
        installation.device(&anna, "looker"),
    );
    let (photo, image) = installation.photo("a.jpg", 300_000);
    let (_, other) = installation.photo("b.jpg", 200_000);
    for name in ["a.jpg", "b.jpg"] {
        keeper.copy_in(&photo.with_file_name(name));
    }
    keeper.wait();
    eventually(SOON, "the other device knows of it", || {
        looker.path("a.jpg").exists()
    });

    let whole = corrupt(&installation, image, 150_000);
    eventually(SOON, "it is healed", || {
        fs::read(stored_path(&installation, image)).is_ok_and(|bytes| bytes == whole)
    });
    let client = installation.client(&anna);
    eventually(SOON, "and no photo is requested any more", || {
        let status: ServerStatus = client.message(route::STATUS);
        (
            status.images,
            status.damaged_images,
            client.metric("heirloom_images_damaged "),
        ) == (2, 0, 0)
    });
    assert!(client.metric("heirloom_images_quarantined_total ") > 0);
    let kept = files_below(&installation.server.data().join("quarantine"));
    assert_eq!(
        kept,
        [installation
            .server
            .data()
            .join("quarantine")
            .join(image.to_string())],
        "moved aside, not deleted"
    );
    keeper.wait();
    assert_eq!(keeper.attribute("a.jpg", "state"), "backed_up");
    assert_eq!(fs::read(looker.path("a.jpg")).expect("it comes"), whole);
    assert!(installation.server.images().contains_key(&other));
}

#[test]
fn verify_reports_intact_and_corrupt_copies_on_both_sides() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (photo, image) = installation.photo("a.jpg", 100_000);
    let (_, _) = installation.photo("b.jpg", 100_000);
    for name in ["a.jpg", "b.jpg"] {
        device.copy_in(&photo.with_file_name(name));
    }
    device.wait();
    let verify = |path: &str| output_of(device.heirloom([Path::new("verify"), &device.path(path)]));
    assert!(verify("").succeeds().starts_with("2 files verified"));
    let said = verify("a.jpg").succeeds();
    assert!(
        said.contains("receipt signed ")
            && said.contains("server: sound")
            && said.contains("local: identical"),
        "{said}"
    );

    // Changes one byte of the local file behind the mount: same size, same times.
    let spooled = device.state().join("spool/b.jpg");
    let times = fs::metadata(&spooled)
        .expect("a file")
        .modified()
        .expect("a time");
    let mut bytes = fs::read(&spooled).expect("a file");
    bytes[50_000] ^= 1;
    fs::write(&spooled, bytes).expect("a disk that forgets");
    fs::File::options()
        .write(true)
        .open(&spooled)
        .and_then(|file| file.set_modified(times))
        .expect("its old times");
    let said = verify("b.jpg");
    assert!(
        said.code == 1 && said.stdout.contains("local: damaged"),
        "{said}"
    );

    // The server's corrupt copy is found by this request, and repaired by what follows.
    corrupt(&installation, image, 7);
    let said = verify("a.jpg");
    assert!(
        said.code == 1 && said.stdout.contains("server: missing or damaged"),
        "{said}"
    );
    eventually(SOON, "it is healed", || {
        let said = verify("a.jpg");
        said.code == 0 && said.stdout.contains("receipt signed ")
    });
}

#[test]
fn a_changed_server_key_is_detected() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let folder = device.path("album");
    fs::create_dir(&folder).expect("a folder");
    let photo = installation.photo("a.jpg", 20_000).0;
    let mut names = vec!["a.jpg".to_owned()];
    // More photos than fit into one request.
    names.extend((0..24).map(|number| format!("album/{number}.jpg")));
    for name in &names {
        let copy = photo.with_file_name("copy.jpg");
        fs::write(&copy, installation.generator.generate(20_000)).expect("a photo");
        fs::copy(copy, device.path(name)).expect("copied in");
    }
    device.wait();
    let verify = |words: &[&str]| {
        let words = words.iter().map(|word| device.path(word));
        output_of(device.heirloom([Path::new("verify").to_owned()].into_iter().chain(words)))
    };
    let said = verify(&["album", "a.jpg"]).succeeds();
    assert!(
        said.ends_with("25 files verified\n") && said.matches("receipt signed  ").count() == 25,
        "{said}"
    );

    installation.server.stop();
    fs::remove_file(installation.server.data().join("receipt.key")).expect("a key");
    installation.server.start_again();
    eventually(SOON, "the client speaks to it", || {
        output_of(device.heirloom(["verify"]))
            .stdout
            .contains("verified")
    });
    let said = verify(&["a.jpg"]);
    let tells =
        said.stderr.contains("receipt key has changed") && said.stderr.contains("--trust-new-key");
    assert!(said.code == 1 && tells, "{said}");
    assert!(
        said.stdout.contains("receipt signed  "),
        "what it signed is still good: {said}"
    );

    // The user confirms the new key.
    let trust = || {
        output_of(device.heirloom([
            Path::new("verify"),
            Path::new("--trust-new-key"),
            &device.path("a.jpg"),
        ]))
    };
    let said = trust();
    assert!(
        said.code == 1 && said.stdout.contains("receipt signed by another key"),
        "{said}"
    );
    let said = verify(&["a.jpg"]).succeeds();
    assert!(
        said.contains("receipt signed  "),
        "it was signed anew: {said}"
    );
}

#[test]
fn an_admin_scrub_finds_missing_and_corrupt_images_with_a_running_server() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (photo, image) = installation.photo("a.jpg", 100_000);
    let (_, gone) = installation.photo("b.jpg", 100_000);
    for name in ["a.jpg", "b.jpg"] {
        device.copy_in(&photo.with_file_name(name));
    }
    device.wait();
    assert!(
        installation
            .server
            .admin(&["scrub"])
            .succeeds()
            .ends_with(": 0 damaged\n")
    );
    // No client is there to repair it.
    device.unmount();
    corrupt(&installation, image, 0);
    fs::remove_file(stored_path(&installation, gone)).expect("removed");
    let said = installation
        .server
        .admin(&["scrub", "--rate", "100"])
        .succeeds();
    for image in [image, gone] {
        assert!(said.contains(&format!("damaged: {image}")), "{said}");
        assert_eq!(
            installation.client(&anna).image(image),
            None,
            "no client gets wrong bytes"
        );
    }
    let status: ServerStatus = installation.client(&anna).message(route::STATUS);
    assert_eq!(status.damaged_images, 2);
    device.mount();
    eventually(SOON, "both are healed", || {
        installation.server.images().len() == 2
    });
}

#[test]
fn an_unreadable_image_is_reported_but_not_called_corrupt() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (photo, image) = installation.photo("a.jpg", 100_000);
    device.copy_in(&photo);
    device.wait();
    let (place, moved) = (
        stored_path(&installation, image),
        installation.server.data().join("aside"),
    );
    fs::rename(&place, &moved).expect("moved");
    // A symbolic link to itself cannot be opened (ELOOP), which says nothing about the photo.
    symlink(&place, &place).expect("a link");

    let said = installation.server.admin(&["scrub"]).succeeds();

    assert!(
        said.contains("could not read 1 images; see the log\n"),
        "{said}"
    );
    assert!(said.ends_with(": 0 damaged\n"), "{said}");
    let status: ServerStatus = installation.client(&anna).message(route::STATUS);
    assert_eq!(status.damaged_images, 0);
    fs::rename(&moved, &place).expect("moved back");
    assert_eq!(
        installation.client(&anna).image(image),
        Some(fs::read(&photo).expect("the photo")),
        "as if nothing had been"
    );
}
