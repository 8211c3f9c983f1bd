//! Full disks of either side: what was acknowledged stays, the rest is retried, and everything
//! continues by itself when there is space. (I/O errors are in `fault_injection`.)

use std::fs;
use std::process::Command;

use heirloom_protocol::Fingerprint;

use crate::command::{Process, run};
use crate::device::is_mounted;
use crate::disk_images::SmallDisk;
use crate::eventually::{BACKED_UP_WITHIN, SOON, eventually};
use crate::installation::{Installation, User};
use crate::server::Server;

/// Size of the server's disk: smaller than what is sent to it.
const DISK_BYTES: u64 = 64 << 20;

#[test]
fn photos_stay_pending_while_the_servers_disk_is_full() {
    let mut installation = Installation::new();
    let folder = installation.scratch_folder("disk");
    let disk = SmallDisk::new(&folder.join("image"), &folder.join("server"), DISK_BYTES);
    let server = Server::start(&folder.join("server"));
    let anna = User::new("anna", &server.add_user("anna"));
    let mut device = installation.device_at_address(&anna, "laptop", server.address());
    device.mount();
    let (first, image) = installation.photo("first.jpg", 200_000);
    device.copy_in(&first);
    device.wait();

    let filler = disk.fill();
    // In one shard, and in several.
    let photos = [("small.jpg", 300_000), ("large.jpg", 9 << 20)]
        .map(|(name, bytes)| installation.photo(name, bytes));
    for (photo, _) in &photos {
        device.copy_in(photo);
    }
    eventually(SOON, "it says why nothing goes on", || {
        device.status().word("/connection/state") == "offline"
    });
    let why = device.status().word("/connection/why").to_lowercase();
    assert!(why.contains("disk is full"), "{why}");
    assert_eq!(
        (device.status().waiting(), device.status().files("failed")),
        (2, 0),
        "they wait, and did not fail"
    );
    let client = crate::http_client::HttpClient::new(server.address(), &anna.token);
    let given = client.image(image).expect("what was acknowledged is there");
    assert_eq!(Fingerprint::of(&given), image);

    fs::remove_file(filler).expect("our own file");
    device.wait();
    let images: Vec<_> = photos
        .iter()
        .map(|(_, image)| *image)
        .chain([image])
        .collect();
    let stored = server.images();
    assert!(
        images.iter().all(|image| stored.contains_key(image)),
        "all is there in the end"
    );
    device.unmount();
    server.end();
}

#[test]
fn a_server_with_a_full_disk_starts_answers_and_can_free_space() {
    let mut installation = Installation::new();
    let folder = installation.scratch_folder("disk");
    // Without its log, which could not be written.
    let disk = SmallDisk::new(
        &folder.join("image"),
        &folder.join("server").join("data"),
        96 << 20,
    );
    let mut server = Server::start(&folder.join("server"));
    let anna = User::new("anna", &server.add_user("anna"));
    let mut device = installation.device_at_address(&anna, "laptop", server.address());
    device.mount();
    let [kept, removed] =
        ["kept.jpg", "removed.jpg"].map(|name| installation.photo(name, 2_000_000));
    for (photo, _) in [&kept, &removed] {
        device.copy_in(photo);
    }
    device.wait();
    fs::remove_file(device.path("removed.jpg")).expect("our own photo");
    let client = crate::http_client::HttpClient::new(server.address(), &anna.token);
    eventually(SOON, "it is in the trash", || client.library().len() == 1);
    server.stop();

    let filler = disk.fill();
    server.start_again();
    let client = crate::http_client::HttpClient::new(server.address(), &anna.token);
    assert_eq!(
        Fingerprint::of(&client.image(kept.1).expect("it answers")),
        kept.1
    );
    // Uploads of that time must not take the last free blocks.
    device.copy_in(&installation.photo("later.jpg", 500_000).0);
    eventually(SOON, "it says why nothing goes on", || {
        let status = device.status();
        status.word("/connection/state") == "offline"
            && status.word("/connection/why").contains("disk is full")
    });
    let said = server
        .admin(&["trash", "purge", "--grace", "0s"])
        .succeeds();
    assert!(
        said.starts_with("purged 1 photos\nfreed 1 images, 2000000 bytes"),
        "{said}"
    );
    fs::remove_file(filler).expect("our own file");
    device.wait();
    device.unmount();
    server.end();
}

#[test]
fn a_full_client_disk_loses_no_closed_photo() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.unmounted_device(&anna, "laptop");
    let disk = SmallDisk::new(
        &installation.scratch_folder("disk").join("image"),
        &device.state(),
        DISK_BYTES,
    );
    installation.server.stop();
    device.mount();
    let photos = [("a.jpg", 300_000), ("b.jpg", 4 << 20)]
        .map(|(name, bytes)| installation.photo(name, bytes).0);
    for photo in &photos {
        device.copy_in(photo);
    }
    // Perhaps before they are queued: then the journal has no space for their entries.
    let filler = disk.fill();
    assert_eq!(device.status().files("backed_up"), 0);
    device.kill();
    fs::remove_file(filler).expect("our own file");
    device.mount();
    installation.server.start_again();
    eventually(BACKED_UP_WITHIN, "all is backed up", || {
        let status = device.status();
        !status.flag("/comparing") && status.waiting() == 0 && status.files("backed_up") == 2
    });
    eventually(SOON, "the library has all names", || {
        installation.client(&anna).library().len() == photos.len()
    });
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
    device.unmount();
}

#[test]
fn an_image_is_not_acknowledged_until_the_index_records_it() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.device(&anna, "laptop");
    let (first, kept) = installation.photo("first.jpg", 100_000);
    device.copy_in(&first);
    device.wait();
    // The very last step fails, as on a disk that returns EIO: the transaction is rolled back.
    let index = installation.server.data().join("index.sqlite");
    let tell = |statement: &str| {
        run(
            "sqlite3",
            [
                "-cmd",
                ".timeout 10000",
                &index.display().to_string(),
                statement,
            ],
        )
    };
    tell("CREATE TRIGGER failing BEFORE INSERT ON images BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END").succeeds();
    // In one shard, in several, and in a batch.
    let photos = [
        ("small.jpg", 700_000),
        ("large.jpg", 9 << 20),
        ("tiny.jpg", 20_000),
    ]
    .map(|(name, bytes)| {
        let photo = installation.photo(name, bytes);
        device.copy_in(&photo.0);
        photo
    });
    eventually(SOON, "the server has failed", || {
        installation.server.log().contains("disk I/O error")
    });
    let status = device.status();
    assert_eq!(
        (
            status.waiting(),
            status.files("backed_up"),
            status.files("failed")
        ),
        (3, 1, 0),
        "pending, not failed"
    );
    let client = installation.client(&anna);
    for (_, image) in &photos {
        assert_eq!(
            client.image(*image),
            None,
            "what was not acknowledged is not there"
        );
    }
    assert_eq!(
        client.image(kept).map(|bytes| Fingerprint::of(&bytes)),
        Some(kept),
        "what was, is"
    );
    tell("DROP TRIGGER failing").succeeds();
    device.wait();
    assert_eq!(installation.server.images().len(), 4);
}

#[test]
fn an_unwritable_log_stops_nothing() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    let inner = device.mount_command();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.envs(
        inner
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let process = Process::start(
        "a device without a log",
        command,
        &installation.scratch_folder("said").join("log"),
    );
    eventually(SOON, "it is mounted", || is_mounted(&device.mountpoint()));
    let (photo, image) = installation.photo("a.jpg", 100_000);
    device.copy_in(&photo);
    device.wait();
    assert_eq!(
        installation.client(&anna).library().get("a.jpg"),
        Some(&image)
    );
    process.terminate();
}
