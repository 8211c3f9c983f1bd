//! Disks forget: what the server stored and lost is found, moved aside, asked for, and healed, without anybody doing anything.

use std::fs;
use std::path::{Path, PathBuf};

use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::ServerStatus;
use heirloom_protocol::route;

use crate::command::finish;
use crate::house::House;
use crate::server::files_below;
use crate::waiting::{SOON, eventually};

/// Where the server keeps an image.
fn stored(house: &House, image: Fingerprint) -> PathBuf {
    let name = image.to_string();
    house.server.data().join("images").join(&name[..2]).join(name)
}

/// Changes one byte of a stored image; answers what stood there.
fn rot(house: &House, image: Fingerprint, at: usize) -> Vec<u8> {
    let (path, whole) = (stored(house, image), fs::read(stored(house, image)).expect("a stored image"));
    let mut rotten = whole.clone();
    rotten[at] ^= 0x10;
    fs::write(path, rotten).expect("a disk that forgets");
    whole
}

#[test]
fn a_rotten_image_is_found_and_heals_by_itself() {
    let mut house = House::new();
    house.server.with_options(&["--scrub-every", "1s", "--scrub-rate", "100"]);
    let anna = house.person("anna");
    let (keeper, looker) = (house.device(&anna, "keeper"), house.device(&anna, "looker"));
    let (photo, image) = house.photo("a.jpg", 300_000);
    let (_, other) = house.photo("b.jpg", 200_000);
    for name in ["a.jpg", "b.jpg"] {
        keeper.copy_in(&photo.with_file_name(name));
    }
    keeper.wait();
    eventually(SOON, "the other device knows of it", || looker.path("a.jpg").exists());

    let whole = rot(&house, image, 150_000);
    eventually(SOON, "it is healed", || fs::read(stored(&house, image)).is_ok_and(|bytes| bytes == whole));
    let asker = house.ask(&anna);
    eventually(SOON, "and nobody is asked for anything any more", || {
        let status: ServerStatus = asker.message(route::STATUS);
        (status.images, status.damaged_images, asker.metric("heirloom_images_damaged ")) == (2, 0, 0)
    });
    assert!(asker.metric("heirloom_images_quarantined_total ") > 0);
    let kept = files_below(&house.server.data().join("quarantine"));
    assert_eq!(kept, [house.server.data().join("quarantine").join(image.to_string())], "moved aside, not deleted");
    keeper.wait();
    assert_eq!(keeper.attribute("a.jpg", "state"), "backed_up");
    assert_eq!(fs::read(looker.path("a.jpg")).expect("it comes"), whole);
    assert!(house.server.images().contains_key(&other));
}

#[test]
fn verifying_tells_what_is_sound_there_and_here_and_what_is_not() {
    let mut house = House::new();
    let anna = house.person("anna");
    let device = house.device(&anna, "laptop");
    let (photo, image) = house.photo("a.jpg", 100_000);
    let (_, _) = house.photo("b.jpg", 100_000);
    for name in ["a.jpg", "b.jpg"] {
        device.copy_in(&photo.with_file_name(name));
    }
    device.wait();
    let verify = |path: &str| finish(device.heirloom([Path::new("verify"), &device.path(path)]));
    assert!(verify("").succeeds().starts_with("2 files verified"));
    let said = verify("a.jpg").succeeds();
    assert!(
        said.contains("receipt signed ") && said.contains("server: sound") && said.contains("here: the same"),
        "{said}"
    );

    // A byte of the file here that nobody wrote: same size, same times.
    let spooled = device.state().join("spool/b.jpg");
    let times = fs::metadata(&spooled).expect("a file").modified().expect("a time");
    let mut bytes = fs::read(&spooled).expect("a file");
    bytes[50_000] ^= 1;
    fs::write(&spooled, bytes).expect("a disk that forgets");
    fs::File::options().write(true).open(&spooled).and_then(|file| file.set_modified(times)).expect("its old times");
    let said = verify("b.jpg");
    assert!(said.code == 1 && said.stdout.contains("here: other bytes"), "{said}");

    // One of the server's copy: found by this very question, and healed by what follows.
    rot(&house, image, 7);
    let said = verify("a.jpg");
    assert!(said.code == 1 && said.stdout.contains("server: missing or damaged"), "{said}");
    eventually(SOON, "it is healed", || {
        let said = verify("a.jpg");
        said.code == 0 && said.stdout.contains("receipt signed ")
    });
}

#[test]
fn the_administrators_scrub_finds_what_is_gone_or_rotten_beside_a_running_server() {
    let mut house = House::new();
    let anna = house.person("anna");
    let mut device = house.device(&anna, "laptop");
    let (photo, image) = house.photo("a.jpg", 100_000);
    let (_, gone) = house.photo("b.jpg", 100_000);
    for name in ["a.jpg", "b.jpg"] {
        device.copy_in(&photo.with_file_name(name));
    }
    device.wait();
    assert!(house.server.administer(&["scrub"]).succeeds().ends_with("0 are damaged and asked for again\n"));
    // Nobody is there to heal it.
    device.unmount();
    rot(&house, image, 0);
    fs::remove_file(stored(&house, gone)).expect("removed");
    let said = house.server.administer(&["scrub", "--rate", "100"]).succeeds();
    for image in [image, gone] {
        assert!(said.contains(&format!("damaged: {image}")), "{said}");
        assert_eq!(house.ask(&anna).image(image), None, "nobody is given wrong bytes");
    }
    let status: ServerStatus = house.ask(&anna).message(route::STATUS);
    assert_eq!(status.damaged_images, 2);
    device.mount();
    eventually(SOON, "both are healed", || house.server.images().len() == 2);
}
