//! What a hostile client does to a library with all the rights of its owner, and how all of it comes back.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use heirloom_protocol::Fingerprint;

use crate::command::{Ended, finish};
use crate::device::Device;
use crate::house::House;
use crate::waiting::{SOON, eventually};

const PHOTOS: usize = 12;

fn restore(device: &Device, path: &str, more: &[&str]) -> Ended {
    let mut command = device.heirloom(["restore"]);
    command.arg(device.path(path)).args(more);
    finish(command)
}

fn all(device: &Device) -> BTreeSet<Fingerprint> {
    device.contents().into_iter().map(|(_, image)| image).collect()
}

/// Overwrites a photo with another, with noise, under another name, or not at all, and removes what is left.
fn ransom(house: &mut House, device: &Device, number: usize) {
    let path = device.path(format!("{number}.jpg"));
    match number % 4 {
        0 => fs::write(&path, house.camera.take(20_000)).expect("overwritten by a photo"),
        1 => fs::write(&path, vec![0xA5; 20_000]).expect("overwritten by noise"),
        2 => {
            fs::rename(&path, device.path(format!("{number}.locked.jpg"))).expect("renamed");
            fs::write(device.path(format!("{number}.locked.jpg")), house.camera.take(20_000)).expect("overwritten");
        }
        _ => fs::remove_file(&path).expect("removed"),
    }
}

#[test]
fn what_a_hostile_client_overwrites_and_removes_is_restored_bit_for_bit() {
    let mut house = House::new();
    let anna = house.person("anna");
    let device = house.device(&anna, "laptop");
    for number in 0..PHOTOS {
        fs::write(device.path(format!("{number}.jpg")), house.camera.take(30_000)).expect("a photo");
    }
    device.wait();
    let (before, standing) = (all(&device), house.ask(&anna).library());
    assert_eq!(before.len(), PHOTOS);

    let attacked = Instant::now();
    (0..PHOTOS).for_each(|number| ransom(&mut house, &device, number));
    device.wait();
    for (path, _) in device.contents() {
        fs::remove_file(device.path(path)).expect("removed");
    }
    eventually(SOON, "the library is empty", || house.ask(&anna).library().is_empty());

    let ago = format!("{}s", attacked.elapsed().as_secs() + 1);
    restore(&device, "", &["--ago", &ago]).succeeds();
    eventually(SOON, "all are shown again", || device.status().files("placeholder") == PHOTOS as u64);
    assert_eq!(all(&device), before, "bit for bit");
    for (path, image) in house.ask(&anna).library() {
        assert!(standing.get(&path) == Some(&image) || path.ends_with(".locked.jpg"), "{path} is where it was");
    }
}

#[test]
fn one_version_is_restored_without_a_mount_until_the_administrator_purges_it() {
    let mut house = House::new();
    let anna = house.person("anna");
    let mut device = house.device(&anna, "laptop");
    let (first, second) = (house.camera.take(30_000), house.camera.take(30_000));
    for photo in [&first, &second] {
        fs::write(device.path("a.jpg"), photo).expect("a photo");
        device.wait();
    }
    device.unmount();
    let trash = |words: &[&str]| {
        let mut command = device.heirloom(["trash", "list"]);
        command.args(words);
        finish(command).succeeds()
    };
    let listed: serde_json::Value = serde_json::from_str(&trash(&["--json"])).expect("JSON");
    let lost = &listed["photos"][0];
    assert_eq!((lost["path"].as_str(), lost["photo"]["size"].as_u64()), (Some("a.jpg"), Some(30_000)));
    let version = lost["version"].to_string();
    restore(&device, "a.jpg", &["--version", "999"]).refuses(&["nothing", "trash"]);
    restore(&device, "a.jpg", &["--version", &version]).succeeds();
    assert_eq!(house.ask(&anna).library()["a.jpg"], Fingerprint::of(&first));

    // What was restored over is in the trash in turn. By name of the server and of the path there, too.
    let named = format!("http://{}", house.server.address());
    let mut command = device.heirloom(["restore", "a.jpg", "--server", &named, "--token-file"]);
    command.arg(device.token_file());
    finish(command).succeeds();
    assert_eq!(house.ask(&anna).library()["a.jpg"], Fingerprint::of(&second));

    assert_eq!(
        house.server.administer(&["trash", "purge", "--user", "anna", "--older", "1d"]).succeeds(),
        "purged 0 photos\n"
    );
    assert!(trash(&[]).contains("a.jpg"));
    house.server.administer(&["trash", "purge", "--user", "anna"]).succeeds();
    assert_eq!(trash(&[]), "nothing in the trash\n");
    restore(&device, "a.jpg", &["--version", &version]).refuses(&["nothing", "trash"]);
    device.mount();
    eventually(SOON, "what stands is shown", || fs::read(device.path("a.jpg")).is_ok_and(|shown| shown == second));
}
