//! Disks of either side that fail for a while: what cannot be read, written or synced is not backed
//! up, says so, and continues by itself when the disk works again. A preloaded library injects the
//! errors (`fault_injection.c`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{output_of, run};
use crate::device::Device;
use crate::eventually::{BACKED_UP_WITHIN, SOON, eventually};
use crate::installation::Installation;

/// Makes calls of the processes under test fail.
struct FaultInjector {
    library: PathBuf,
    rules: PathBuf,
}

impl FaultInjector {
    fn new(folder: &Path) -> Self {
        let (library, rules) = (folder.join("fault_injection.so"), folder.join("rules"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/fault_injection.c");
        let to = library.display().to_string();
        run(
            "gcc",
            ["-shared", "-fPIC", "-O1", "-o", &to, source, "-ldl"],
        )
        .succeeds();
        Self { library, rules }
    }

    /// The environment variables of a process whose calls can fail.
    fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("HEIRLOOM_DISK_FAULTS", self.rules.clone()),
        ]
    }

    /// From now on `call` (read, write, sync, sync-folder) fails with EIO on files with `word` in
    /// their path.
    fn inject(&self, call: &str, word: &str) {
        fs::write(&self.rules, format!("{call} {word}\n")).expect("a file of ours");
    }

    fn clear(&self) {
        fs::remove_file(&self.rules).expect("a file of ours");
    }
}

#[test]
fn a_photo_is_not_backed_up_until_the_disk_reads_and_syncs_it() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let faults = FaultInjector::new(&installation.scratch_folder("illness"));
    let mut device = installation
        .unmounted_device(&anna, "laptop")
        .with_variables(faults.variables());
    device.mount();
    for call in ["read", "sync"] {
        let (ill, well) = (format!("ill-{call}.jpg"), format!("well-{call}.jpg"));
        faults.inject(call, &ill);
        for name in [&ill, &well] {
            device.copy_in(&installation.photo(name, 300_000).0);
        }
        device.wait_for(&[&well]);
        eventually(SOON, "it says why", || {
            device
                .attribute_or_empty(&ill, "error")
                .contains("Input/output error")
        });
        assert_ne!(device.attribute(&ill, "state"), "backed_up");
        faults.clear();
        if call == "sync" {
            // After a failed sync nobody knows what is on the disk: the file asks to be copied
            // again.
            device.copy_in(&installation.scratch_folder("camera").join(&ill));
        }
        eventually(BACKED_UP_WITHIN, "it is taken in", || {
            device.attribute(&ill, "state") == "backed_up"
        });
    }
    device.wait();
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}

/// A laptop whose disk can fail.
fn laptop_with_faults() -> (Installation, FaultInjector, Device) {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let faults = FaultInjector::new(&installation.scratch_folder("illness"));
    let mut device = installation
        .unmounted_device(&anna, "laptop")
        .with_variables(faults.variables());
    device.mount();
    (installation, faults, device)
}

#[test]
fn a_photo_is_not_backed_up_until_its_folder_is_synced() {
    let (mut installation, faults, device) = laptop_with_faults();
    let (photo, _) = installation.photo("a.jpg", 300_000);
    for album in ["ill", "well"] {
        fs::create_dir(device.path(album)).expect("an album");
    }
    faults.inject("sync-folder", "/spool/ill");
    for album in ["ill", "well"] {
        fs::copy(&photo, device.path(album).join("a.jpg")).expect("a copy");
    }
    device.wait_for(&["well/a.jpg"]);
    let why = || device.attribute_or_empty("ill/a.jpg", "error");
    eventually(SOON, "it says why", || {
        why().contains("this disk failed to store it (Input/output error")
    });
    assert_ne!(device.attribute("ill/a.jpg", "state"), "backed_up");
    faults.clear();
    fs::copy(&photo, device.path("ill/a.jpg")).expect("a copy");
    device.wait();
    assert_eq!(device.attribute("ill/a.jpg", "state"), "backed_up");
}

#[test]
fn a_photo_keeps_its_bytes_if_its_placeholder_mark_cannot_be_synced() {
    let (mut installation, faults, device) = laptop_with_faults();
    let (photo, _) = installation.photo("a.jpg", 3_000_000);
    device.copy_in(&photo);
    device.wait();
    faults.inject("sync", "/spool/a.jpg");
    let freed = output_of(device.heirloom([Path::new("free"), &device.path("a.jpg")]));
    let spooled = device.state().join("spool/a.jpg");
    let original = fs::read(&photo).expect("the original");
    assert!(
        fs::read(&spooled).expect("spooled") == original,
        "{freed:?}"
    );
    faults.clear();
    assert!(fs::read(device.path("a.jpg")).expect("it is read") == original);
}

#[test]
fn a_fetched_photo_that_cannot_be_synced_does_not_count_as_local() {
    let (mut installation, faults, device) = laptop_with_faults();
    let (photo, _) = installation.photo("a.jpg", 3_000_000);
    device.copy_in(&photo);
    device.wait();
    output_of(device.heirloom([Path::new("free"), &device.path("a.jpg")])).succeeds();
    assert_eq!(device.attribute("a.jpg", "state"), "placeholder");
    faults.inject("sync", "/spool/a.jpg");
    assert!(
        fs::read(device.path("a.jpg")).is_err(),
        "its disk does not keep it"
    );
    faults.clear();
    assert!(
        fs::read(device.path("a.jpg")).expect("it comes back")
            == fs::read(&photo).expect("the original")
    );
    eventually(SOON, "it is an ordinary file again", || {
        device.attribute("a.jpg", "state") == "backed_up"
    });
}

#[test]
fn a_photo_that_cannot_be_read_during_upload_waits_for_its_disk() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let faults = FaultInjector::new(&installation.scratch_folder("illness"));
    let link = installation.link();
    link.disconnect();
    let mut device = installation
        .device_over_link(&anna, "laptop", &link)
        .with_variables(faults.variables());
    device.mount();
    // In one shard, in several, and in a batch.
    let names = ["small.jpg", "large.jpg", "tiny.jpg"];
    for (name, bytes) in names.into_iter().zip([700_000, 9 << 20, 20_000]) {
        device.copy_in(&installation.photo(name, bytes).0);
    }
    let queued = |name: &&str| !device.attribute_or_empty(name, "fingerprint").is_empty();
    eventually(SOON, "all are queued", || names.iter().all(queued));
    faults.inject("read", "/spool/");
    link.reconnect();
    let status =
        || output_of(device.heirloom([Path::new("status"), &device.mountpoint()])).succeeds();
    eventually(SOON, "it says why", || {
        status().contains("Input/output error")
    });
    assert!(installation.server.images().is_empty(), "nothing was sent");
    faults.clear();
    eventually(BACKED_UP_WITHIN, "all is backed up", || {
        device.status().files("backed_up") == 3
    });
    device.wait();
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}

#[test]
fn a_server_with_a_failing_disk_acknowledges_nothing_it_did_not_store() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let faults = FaultInjector::new(&installation.scratch_folder("illness"));
    installation.server.with_variables(faults.variables());
    let device = installation.device(&anna, "laptop");
    // The error in the system's words, and in SQLite's.
    let (system, sqlite) = ("Input/output error", "disk I/O error");
    let ills = [
        ("write", "uploads/", system),
        ("sync", "uploads/", system),
        // Only folders are synced below it: an image is synced before it gets its name there.
        ("sync-folder", "/images/", system),
        ("write", "index.sqlite", sqlite),
        ("sync", "index.sqlite", sqlite),
    ];
    for (number, (call, word, said)) in ills.into_iter().enumerate() {
        let mark = installation.server.log().len();
        faults.inject(call, word);
        for (kind, bytes) in [("small", 700_000), ("large", 9 << 20), ("tiny", 20_000)] {
            device.copy_in(&installation.photo(&format!("{kind}-{number}.jpg"), bytes).0);
        }
        eventually(SOON, "the server has failed", || {
            installation.server.log()[mark..].contains(said)
        });
        assert_eq!(
            device.status().files("backed_up"),
            3 * number as u64,
            "{call} {word}"
        );
        assert_eq!(device.status().files("failed"), 0, "{call} {word}");
        faults.clear();
        device.wait();
    }
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}
