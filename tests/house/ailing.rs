//! Disks that ail for a while, of either side: what cannot be read, written or synced is not backed
//! up, says so, and goes on by itself when the disk is well again. A library of ours stands between
//! the programs and the disk (`ailing.c`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{finish, run};
use crate::device::Device;
use crate::house::House;
use crate::waiting::{BACKED_UP_WITHIN, SOON, eventually};

/// What the disk has.
struct Illness {
    library: PathBuf,
    rules: PathBuf,
}

impl Illness {
    fn new(folder: &Path) -> Self {
        let (library, rules) = (folder.join("ailing.so"), folder.join("rules"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/house/ailing.c");
        let to = library.display().to_string();
        run(
            "gcc",
            ["-shared", "-fPIC", "-O1", "-o", &to, source, "-ldl"],
        )
        .succeeds();
        Self { library, rules }
    }

    /// What a process needs to be met by it.
    fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("HEIRLOOM_AILS", self.rules.clone()),
        ]
    }

    /// From now on `call` (read, write, sync, sync-folder) fails with EIO on files with `word` in
    /// their path.
    fn strikes(&self, call: &str, word: &str) {
        fs::write(&self.rules, format!("{call} {word}\n")).expect("a file of ours");
    }

    fn heals(&self) {
        fs::remove_file(&self.rules).expect("a file of ours");
    }
}

#[test]
fn a_photo_that_the_disk_does_not_give_or_keep_is_not_backed_up_until_it_does() {
    let mut house = House::new();
    let anna = house.person("anna");
    let illness = Illness::new(&house.shelf("illness"));
    let mut device = house
        .unmounted(&anna, "laptop")
        .with_variables(illness.variables());
    device.mount();
    for call in ["read", "sync"] {
        let (ill, well) = (format!("ill-{call}.jpg"), format!("well-{call}.jpg"));
        illness.strikes(call, &ill);
        for name in [&ill, &well] {
            device.copy_in(&house.photo(name, 300_000).0);
        }
        device.wait_for(&[&well]);
        eventually(SOON, "it says why", || {
            device
                .attribute_if_any(&ill, "error")
                .contains("Input/output error")
        });
        assert_ne!(device.attribute(&ill, "state"), "backed_up");
        illness.heals();
        if call == "sync" {
            // What the disk has of it after that, nobody knows: it says to copy it again.
            device.copy_in(&house.shelf("camera").join(&ill));
        }
        eventually(BACKED_UP_WITHIN, "it is taken in", || {
            device.attribute(&ill, "state") == "backed_up"
        });
    }
    device.wait();
    house.keeps_all_of(&house.shelf("camera"), &anna, "");
}

/// A laptop whose disk ails on demand.
fn ill_laptop() -> (House, Illness, Device) {
    let house = House::new();
    let anna = house.person("anna");
    let illness = Illness::new(&house.shelf("illness"));
    let mut device = house
        .unmounted(&anna, "laptop")
        .with_variables(illness.variables());
    device.mount();
    (house, illness, device)
}

#[test]
fn a_photo_whose_name_the_disk_does_not_keep_is_not_backed_up_until_it_does() {
    let (mut house, illness, device) = ill_laptop();
    let (photo, _) = house.photo("a.jpg", 300_000);
    for album in ["ill", "well"] {
        fs::create_dir(device.path(album)).expect("an album");
    }
    illness.strikes("sync-folder", "/spool/ill");
    for album in ["ill", "well"] {
        fs::copy(&photo, device.path(album).join("a.jpg")).expect("a copy");
    }
    device.wait_for(&["well/a.jpg"]);
    let why = || device.attribute_if_any("ill/a.jpg", "error");
    eventually(SOON, "it says why", || {
        why().contains("this disk failed to store it (Input/output error")
    });
    assert_ne!(device.attribute("ill/a.jpg", "state"), "backed_up");
    illness.heals();
    fs::copy(&photo, device.path("ill/a.jpg")).expect("a copy");
    device.wait();
    assert_eq!(device.attribute("ill/a.jpg", "state"), "backed_up");
}

#[test]
fn a_photo_keeps_its_bytes_where_the_disk_does_not_keep_that_it_is_a_placeholder() {
    let (mut house, illness, device) = ill_laptop();
    let (photo, _) = house.photo("a.jpg", 3_000_000);
    device.copy_in(&photo);
    device.wait();
    illness.strikes("sync", "/spool/a.jpg");
    let told = finish(device.heirloom([Path::new("free"), &device.path("a.jpg")]));
    let spooled = device.state().join("spool/a.jpg");
    let original = fs::read(&photo).expect("the original");
    assert!(fs::read(&spooled).expect("spooled") == original, "{told:?}");
    illness.heals();
    assert!(fs::read(device.path("a.jpg")).expect("it is read") == original);
}

#[test]
fn what_the_disk_does_not_keep_of_a_fetched_photo_is_not_noted_as_here() {
    let (mut house, illness, device) = ill_laptop();
    let (photo, _) = house.photo("a.jpg", 3_000_000);
    device.copy_in(&photo);
    device.wait();
    finish(device.heirloom([Path::new("free"), &device.path("a.jpg")])).succeeds();
    assert_eq!(device.attribute("a.jpg", "state"), "placeholder");
    illness.strikes("sync", "/spool/a.jpg");
    assert!(
        fs::read(device.path("a.jpg")).is_err(),
        "its disk does not keep it"
    );
    illness.heals();
    assert!(
        fs::read(device.path("a.jpg")).expect("it comes back")
            == fs::read(&photo).expect("the original")
    );
    eventually(SOON, "it is an ordinary file again", || {
        device.attribute("a.jpg", "state") == "backed_up"
    });
}

#[test]
fn a_photo_that_cannot_be_read_while_it_is_sent_waits_for_its_disk() {
    let mut house = House::new();
    let anna = house.person("anna");
    let illness = Illness::new(&house.shelf("illness"));
    let link = house.link();
    link.cut();
    let mut device = house
        .linked(&anna, "laptop", &link)
        .with_variables(illness.variables());
    device.mount();
    // In one shard, in several, and in a parcel.
    let names = ["small.jpg", "large.jpg", "tiny.jpg"];
    for (name, bytes) in names.into_iter().zip([700_000, 9 << 20, 20_000]) {
        device.copy_in(&house.photo(name, bytes).0);
    }
    let promised = |name: &&str| !device.attribute_if_any(name, "fingerprint").is_empty();
    eventually(SOON, "all are promised", || names.iter().all(promised));
    illness.strikes("read", "/spool/");
    link.mend();
    let status = || finish(device.heirloom([Path::new("status"), &device.mountpoint()])).succeeds();
    eventually(SOON, "it says why", || {
        status().contains("Input/output error")
    });
    assert!(house.server.images().is_empty(), "nothing was sent");
    illness.heals();
    eventually(BACKED_UP_WITHIN, "all is backed up", || {
        device.status().files("backed_up") == 3
    });
    device.wait();
    house.keeps_all_of(&house.shelf("camera"), &anna, "");
}

#[test]
fn a_server_whose_disk_ails_acknowledges_nothing_that_it_does_not_keep() {
    let mut house = House::new();
    let anna = house.person("anna");
    let illness = Illness::new(&house.shelf("illness"));
    house.server.with_variables(illness.variables());
    let device = house.device(&anna, "laptop");
    // As the system says it, and as SQLite does.
    let (system, sqlite) = ("Input/output error", "disk I/O error");
    let ills = [
        ("write", "uploads/", system),
        ("sync", "uploads/", system),
        // Nothing is synced below it but folders: an image is synced before it has its name there.
        ("sync-folder", "/images/", system),
        ("write", "index.sqlite", sqlite),
        ("sync", "index.sqlite", sqlite),
    ];
    for (number, (call, word, said)) in ills.into_iter().enumerate() {
        let mark = house.server.log().len();
        illness.strikes(call, word);
        for (kind, bytes) in [("small", 700_000), ("large", 9 << 20), ("tiny", 20_000)] {
            device.copy_in(&house.photo(&format!("{kind}-{number}.jpg"), bytes).0);
        }
        eventually(SOON, "the server has failed", || {
            house.server.log()[mark..].contains(said)
        });
        assert_eq!(
            device.status().files("backed_up"),
            3 * number as u64,
            "{call} {word}"
        );
        assert_eq!(device.status().files("failed"), 0, "{call} {word}");
        illness.heals();
        device.wait();
    }
    house.keeps_all_of(&house.shelf("camera"), &anna, "");
}
