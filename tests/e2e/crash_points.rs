//! A crash of either side between any two durable states: afterwards nothing is lost, torn or
//! untrue.
//!
//! Each scenario runs once for each of its crash points: the process ends there, is started again,
//! and the test checks what it left. `docs/DURABILITY.md` has the table of all points.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{ContentDigest, Fingerprint, RangeSet, route};

use crate::command::output_of;
use crate::device::{Device, fingerprints_below};
use crate::eventually::{BACKED_UP_WITHIN, eventually};
use crate::installation::{Installation, User};

/// Bytes of a photo that is sent in one shard.
const SMALL: usize = 150_000;
/// Bytes of a photo that is sent in several shards, and fetched in several ranges.
const LARGE: usize = 9 << 20;

/// What happens when the process crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// The client mounts for the first time.
    FirstMount,
    /// The client backs up photos.
    Keeping,
    /// The client shows photos of another device.
    Arriving,
    /// The client frees a photo.
    Freeing,
    /// The client fetches it again.
    Fetching,
    /// The server receives photos.
    Receiving,
    /// The server links a photo that another user sent.
    Linking,
    /// The server finds damage in a photo that another user sent.
    Finding,
    /// The server scrubs its stored images.
    Scrubbing,
    /// The server drops a cancelled upload.
    Dropping,
    /// The administrator purges the trash, and unreferenced images are removed.
    Clearing,
}

/// The scenario that reaches a crash point.
fn scenario_of(point: CrashPoint) -> Scenario {
    match point {
        CrashPoint::JournalCreated | CrashPoint::JournalRenamed => Scenario::FirstMount,
        CrashPoint::FileCreated
        | CrashPoint::FileClosed
        | CrashPoint::FileSynced
        | CrashPoint::FileNameSynced
        | CrashPoint::WriteStateCleared
        | CrashPoint::FileQueued
        | CrashPoint::ShardAcknowledged
        | CrashPoint::ShardRecorded
        | CrashPoint::ReceiptReceived
        | CrashPoint::ReceiptRecorded
        | CrashPoint::NamesAcknowledged
        | CrashPoint::NamesDequeued => Scenario::Keeping,
        CrashPoint::PlaceholderCreated
        | CrashPoint::PlaceholderLinked
        | CrashPoint::PlaceholdersSynced
        | CrashPoint::RemoteNamesRecorded => Scenario::Arriving,
        CrashPoint::EvictionRecorded | CrashPoint::EvictionMarked | CrashPoint::EvictionPunched => {
            Scenario::Freeing
        }
        CrashPoint::FetchedRangeSynced
        | CrashPoint::FetchedRangeRecorded
        | CrashPoint::FetchedFileSynced
        | CrashPoint::PlaceholderCleared
        | CrashPoint::FetchRecorded => Scenario::Fetching,
        CrashPoint::ShardWritten
        | CrashPoint::ShardSynced
        | CrashPoint::ShardListed
        | CrashPoint::ImageHashed
        | CrashPoint::ImageSynced
        | CrashPoint::ImageNamed
        | CrashPoint::ImageNameSynced
        | CrashPoint::ImageRecorded
        | CrashPoint::LibraryRecorded => Scenario::Receiving,
        CrashPoint::ProofVerified | CrashPoint::LinkRecorded => Scenario::Linking,
        CrashPoint::DamageRecorded | CrashPoint::DamageQuarantined => Scenario::Finding,
        CrashPoint::PageScrubbed | CrashPoint::ScrubRecorded => Scenario::Scrubbing,
        CrashPoint::UploadUnlisted => Scenario::Dropping,
        CrashPoint::TrashPurged | CrashPoint::ImageUnindexed | CrashPoint::ImageRemoved => {
            Scenario::Clearing
        }
    }
}

/// Runs one scenario for each of its crash points.
#[track_caller]
fn run_scenario(scenario: Scenario, act: impl Fn(&str)) {
    for point in CrashPoint::ALL
        .iter()
        .filter(|point| scenario_of(**point) == scenario)
    {
        println!("{scenario:?}: crash at {}", point.name());
        act(point.name());
    }
}

/// Copies a photo as a program does; returns whether every call succeeded.
fn copy_succeeds(photo: &Path, device: &Device) -> bool {
    fs::copy(photo, device.path(photo.file_name().expect("a name"))).is_ok()
}

/// Asserts that every copied photo is complete in the mount, on the server and in the library, and
/// that nothing else is there.
#[track_caller]
fn assert_all_kept(installation: &Installation, person: &User, device: &Device) {
    let photos = installation.scratch_folder("camera");
    device.wait();
    assert_eq!(
        device.contents(),
        fingerprints_below(&photos),
        "the mount shows what was copied"
    );
    eventually(BACKED_UP_WITHIN, "the library has all names", || {
        device.status().number("/names_queued") == 0
    });
    installation.assert_backed_up(&photos, person, "");
    assert_eq!(
        installation.server.images().len(),
        fingerprints_below(&photos).len(),
        "nothing else was stored"
    );
}

/// An installation with one photo backed up by a device that is unmounted again.
fn installation_with_a_photo(bytes: usize) -> (Installation, User, Device, PathBuf) {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (photo, _) = installation.photo("a.jpg", bytes);
    device.copy_in(&photo);
    device.wait();
    eventually(BACKED_UP_WITHIN, "its name is known", || {
        device.status().number("/names_queued") == 0
    });
    device.unmount();
    (installation, anna, device, photo)
}

#[test]
fn a_crash_during_the_first_mount_does_not_prevent_the_next() {
    run_scenario(Scenario::FirstMount, |at| {
        let mut installation = Installation::new();
        let anna = installation.user("anna");
        let mut device = installation.unmounted_device(&anna, "laptop");
        device.mount_to_crash(at);
        device.wait_for_crash();
        device.mount();
        let (photo, _) = installation.photo("a.jpg", SMALL);
        device.copy_in(&photo);
        assert_all_kept(&installation, &anna, &device);
    });
}

#[test]
fn a_client_crash_during_backup_loses_nothing_and_sends_nothing_twice() {
    run_scenario(Scenario::Keeping, |at| {
        let mut installation = Installation::new();
        let anna = installation.user("anna");
        let link = installation.link();
        let mut device = installation.device_over_link(&anna, "laptop", &link);
        let photos = [
            installation.photo("small.jpg", SMALL).0,
            installation.photo("large.jpg", LARGE).0,
        ];
        device.mount_to_crash(at);
        let copied: Vec<bool> = photos
            .iter()
            .map(|photo| copy_succeeds(photo, &device))
            .collect();
        device.wait_for_crash();
        link.reset_connections();
        let images = photos
            .each_ref()
            .map(|photo| fs::read(photo).expect("a photo"));
        let sizes = images
            .each_ref()
            .map(|photo| (Fingerprint::of(photo), photo.len() as u64));
        let had = installation.client(&anna).received_ranges(&sizes);
        link.take_sent_shards();

        device.mount();
        for (photo, was_copied) in photos.iter().zip(copied) {
            assert!(
                was_copied || copy_succeeds(photo, &device),
                "nothing interrupts it now"
            );
        }
        assert_all_kept(&installation, &anna, &device);
        assert_eq!(
            crate::kills::sent_again(&link, &had),
            0,
            "sent although the server had it"
        );
    });
}

#[test]
fn a_crash_while_adding_remote_photos_shows_each_exactly_once() {
    run_scenario(Scenario::Arriving, |at| {
        let (installation, anna, first, photo) = installation_with_a_photo(SMALL);
        let mut second = installation.unmounted_device(&anna, "phone");
        second.mount_to_crash(at);
        second.wait_for_crash();
        second.mount();
        eventually(BACKED_UP_WITHIN, "the photo is shown", || {
            second.status().files("placeholder") == 1
        });
        let names: Vec<_> = fs::read_dir(second.mountpoint())
            .expect("a mount")
            .map(|it| it.expect("a name"))
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(second.attribute("a.jpg", "state"), "placeholder");
        let (shown, original) = (
            fs::metadata(second.path("a.jpg")),
            fs::metadata(first.state().join("spool/a.jpg")),
        );
        assert_eq!(
            shown.expect("it is shown").modified().expect("a time"),
            original.expect("a photo").modified().expect("a time")
        );
        assert!(
            fs::read(second.path("a.jpg")).expect("fetched") == fs::read(&photo).expect("a photo")
        );
    });
}

#[test]
fn a_crash_while_freeing_leaves_a_photo_or_a_marked_placeholder() {
    run_scenario(Scenario::Freeing, |at| {
        let (_installation, _anna, mut device, photo) = installation_with_a_photo(LARGE);
        device.mount_to_crash(at);
        let freed = output_of(device.heirloom([Path::new("free"), &device.path("a.jpg")]));
        assert_ne!(freed.code, 0, "the command did not report success: {freed}");
        device.wait_for_crash();
        assert_photo_or_marked_placeholder(&mut device, &photo);
    });
}

#[test]
fn a_crash_while_fetching_leaves_a_photo_or_a_marked_placeholder() {
    run_scenario(Scenario::Fetching, |at| {
        let (_installation, _anna, mut device, photo) = installation_with_a_photo(LARGE);
        device.mount();
        output_of(device.heirloom([Path::new("free"), &device.path("a.jpg")])).succeeds();
        device.unmount();
        device.mount_to_crash(at);
        let place = device.path("a.jpg");
        // The request may have been answered before the crash, but never with other bytes.
        let reading = thread::spawn(move || fs::read(place));
        device.wait_for_crash();
        if let Ok(read) = reading.join().expect("reading does not panic") {
            assert!(
                read == fs::read(&photo).expect("a photo"),
                "other bytes were read"
            );
        }
        assert_photo_or_marked_placeholder(&mut device, &photo);
    });
}

/// Asserts that the spool's file is the complete photo unless it is marked as a placeholder, and
/// that it can be read.
#[track_caller]
fn assert_photo_or_marked_placeholder(device: &mut Device, photo: &Path) {
    let photo = fs::read(photo).expect("a photo");
    let spooled = device.state().join("spool/a.jpg");
    device.mount();
    let is_known = || !device.status().flag("/comparing") && device.status().waiting() == 0;
    eventually(BACKED_UP_WITHIN, "it is known what it is", is_known);
    match device.attribute("a.jpg", "state").as_str() {
        "backed_up" => assert!(
            fs::read(&spooled).expect("spooled") == photo,
            "a hole is called a photo"
        ),
        "placeholder" => {}
        other => panic!("a.jpg is {other}"),
    }
    assert!(fs::read(device.path("a.jpg")).expect("it can be read") == photo);
    eventually(BACKED_UP_WITHIN, "it is whole again", || {
        device.attribute("a.jpg", "state") == "backed_up"
    });
    assert!(fs::read(&spooled).expect("spooled") == photo);
    assert_eq!(device.status().sent(), 0, "nothing is sent again");
    device.unmount();
}

#[test]
fn a_server_crash_during_upload_loses_nothing_it_acknowledged() {
    run_scenario(Scenario::Receiving, |at| {
        let mut installation = Installation::new();
        let anna = installation.user("anna");
        installation.server.stop();
        installation.server.start_to_crash(at);
        let mut device = installation.device(&anna, "laptop");
        let photos = [
            installation.photo("small.jpg", SMALL),
            installation.photo("large.jpg", LARGE),
        ];
        for (photo, _) in &photos {
            device.copy_in(photo);
        }
        installation.server.wait_for_crash();
        let reported: Vec<_> = (photos
            .iter()
            .map(|(photo, image)| (photo.file_name().expect("a name"), *image)))
        .filter(|(name, _)| device.attribute(name.to_str().expect("plain"), "state") == "backed_up")
        .map(|(_, image)| image)
        .collect();
        // Whatever file has an image's name is that image, at any moment.
        let stored = installation.server.images();
        assert!(
            reported.iter().all(|image| stored.contains_key(image)),
            "an image that was reported as backed up is not stored"
        );
        installation.server.start_again();
        assert_all_kept(&installation, &anna, &device);
        device.unmount();
        assert_nothing_left_over(&installation);
    });
}

/// Asserts that the server's disk holds only images and an empty folder of uploads.
#[track_caller]
fn assert_nothing_left_over(installation: &Installation) {
    let left = crate::server::files_below(&installation.server.data().join("uploads"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_crash_while_linking_leaves_a_link_or_none() {
    run_scenario(Scenario::Linking, |at| {
        let (mut installation, _anna, _device, photo) = installation_with_a_photo(SMALL);
        let ben = installation.user("ben");
        installation.server.stop();
        installation.server.start_to_crash(at);
        let device = installation.device(&ben, "tablet");
        device.copy_in(&photo);
        installation.server.wait_for_crash();
        installation.server.start_again();
        assert_all_kept(&installation, &ben, &device);
    });
}

#[test]
fn a_server_crash_on_finding_damage_never_serves_damaged_bytes() {
    run_scenario(Scenario::Finding, |at| {
        let (mut installation, anna, _device, photo) = installation_with_a_photo(SMALL);
        let ben = installation.user("ben");
        let bytes = fs::read(&photo).expect("a photo");
        let image = Fingerprint::of(&bytes);
        corrupt_the_only_image(&installation);
        installation.server.stop();
        installation.server.start_to_crash(at);
        let device = installation.device(&ben, "tablet");
        device.copy_in(&photo);
        installation.server.wait_for_crash();
        installation.server.start_again();
        let given = installation.client(&anna).image(image);
        assert!(
            given.is_none_or(|given| given == bytes),
            "damaged bytes were given out"
        );
        assert_all_kept(&installation, &ben, &device);
        assert!(
            installation
                .client(&anna)
                .image(image)
                .expect("it is healed")
                == bytes
        );
    });
}

/// Flips a bit of the only stored image.
fn corrupt_the_only_image(installation: &Installation) {
    let stored = crate::server::files_below(&installation.server.data().join("images"))
        .pop()
        .expect("an image");
    let mut bytes = fs::read(&stored).expect("an image");
    bytes[SMALL / 2] ^= 1;
    fs::write(&stored, bytes).expect("writable");
}

#[test]
fn a_server_crash_while_scrubbing_forgets_no_damage() {
    run_scenario(Scenario::Scrubbing, |at| {
        let (mut installation, anna, mut device, photo) = installation_with_a_photo(SMALL);
        installation
            .server
            .with_options(&["--scrub-every", "1s", "--scrub-rate", "100"]);
        installation.server.stop();
        corrupt_the_only_image(&installation);
        installation.server.start_and_crash(at);
        installation.server.start_again();
        device.mount();
        let (bytes, client) = (
            fs::read(&photo).expect("a photo"),
            installation.client(&anna),
        );
        let image = Fingerprint::of(&bytes);
        eventually(BACKED_UP_WITHIN, "it is healed", || {
            client.image(image).is_some_and(|given| given == bytes)
        });
        assert_all_kept(&installation, &anna, &device);
    });
}

#[test]
fn a_crash_during_garbage_collection_leaves_no_entry_without_its_image() {
    run_scenario(Scenario::Clearing, |at| {
        let (installation, anna, mut device, photo) = installation_with_a_photo(SMALL);
        let ben = installation.user("ben");
        let bens = installation.device(&ben, "tablet");
        let stays = installation.scratch_folder("bens").join("b.jpg");
        fs::write(&stays, fs::read(&photo).expect("a photo").repeat(2)).expect("another photo");
        bens.copy_in(&stays);
        bens.wait();
        device.mount();
        fs::remove_file(device.path("a.jpg")).expect("removed");
        eventually(BACKED_UP_WITHIN, "the library knows", || {
            installation.client(&anna).library().is_empty()
        });

        installation
            .server
            .admin_to_crash(at, &["trash", "purge", "--grace", "0s"]);
        let bytes = fs::read(&photo).expect("a photo");
        let image = Fingerprint::of(&bytes);
        let left = installation.server.images();
        assert!(
            left.contains_key(&Fingerprint::of(&fs::read(&stays).expect("a photo"))),
            "it is Ben's"
        );
        assert_eq!(left.contains_key(&image), at != "image-removed");
        assert_eq!(
            installation.client(&anna).image(image),
            None,
            "it is not hers any more"
        );

        // The same photo is uploaded again, and is intact.
        device.copy_in(&photo);
        device.wait();
        assert!(
            installation
                .client(&anna)
                .image(image)
                .expect("it is hers again")
                == bytes
        );
        installation
            .server
            .admin(&["trash", "purge", "--grace", "0s"])
            .succeeds();
        assert_eq!(installation.server.images().len(), 2, "and stays");

        fs::remove_file(device.path("a.jpg")).expect("removed");
        eventually(BACKED_UP_WITHIN, "the library knows", || {
            installation.client(&anna).library().is_empty()
        });
        installation
            .server
            .admin_to_crash(at, &["trash", "purge", "--grace", "0s"]);
        installation
            .server
            .admin(&["trash", "purge", "--grace", "0s"])
            .succeeds();
        assert_eq!(
            installation.server.images().len(),
            1,
            "what the crash left is found"
        );
    });
}

#[test]
fn a_server_crash_while_dropping_an_upload_leaves_no_list_without_bytes() {
    run_scenario(Scenario::Dropping, |at| {
        let mut installation = Installation::new();
        let anna = installation.user("anna");
        installation.server.stop();
        installation.server.start_to_crash(at);
        let photo = installation.generator.generate(SMALL);
        let (image, half) = (Fingerprint::of(&photo), &photo[..SMALL / 2]);
        let client = installation.client(&anna);
        let put = |offset: usize, bytes: &[u8]| {
            let headers = [
                ("Upload-Length", SMALL.to_string()),
                ("Content-Digest", ContentDigest::of(bytes).to_string()),
                ("Content-Type", "application/octet-stream".to_owned()),
            ];
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            client
                .request("PUT", &route::shard(image, offset as u64), &headers, bytes)
                .status
        };
        assert_eq!(put(0, half), 200);
        let dropping = {
            let client = client.clone();
            thread::spawn(move || client.request("DELETE", &route::upload(image), &[], b""))
        };
        installation.server.wait_for_crash();
        drop(dropping.join());
        installation.server.start_again();
        assert_eq!(
            installation
                .client(&anna)
                .received_ranges(&[(image, SMALL as u64)])[&image],
            RangeSet::new(),
            "no list is left"
        );
        assert_eq!(put(SMALL / 2, &photo[SMALL / 2..]), 200);
        let said = installation
            .client(&anna)
            .received_ranges(&[(image, SMALL as u64)])
            .remove(&image)
            .expect("an answer");
        assert!(!said.covers(SMALL as u64), "the first half was dropped");
        assert!((200..300).contains(&put(0, half)));
        assert!(
            installation
                .client(&anna)
                .image(image)
                .expect("it is whole")
                == photo
        );
    });
}

#[test]
fn the_table_of_crash_points_lists_each_with_its_test() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/DURABILITY.md"))
        .expect("the page");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: Vec<_> = rows
        .map(|(name, rest)| (name, rest.rsplit('`').nth(1).unwrap_or_default()))
        .collect();
    let names: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        CrashPoint::ALL
            .iter()
            .map(|point| point.name())
            .collect::<Vec<_>>(),
        "in the order of the list"
    );
    let here = include_str!("crash_points.rs");
    let unknown: BTreeSet<_> = listed
        .iter()
        .filter(|(_, test)| !here.contains(&format!("fn {test}()")))
        .collect();
    assert!(unknown.is_empty(), "tests that are not here: {unknown:?}");
}
