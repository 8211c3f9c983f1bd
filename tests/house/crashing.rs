//! A crash between any two durable states, of either side: nothing is lost, torn or untrue
//! afterwards.
//!
//! Each scene is played once for each point that it comes to: the process ends itself there, is
//! started again, and what it left is looked at. `docs/DURABILITY.md` has the table of all points.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{ContentDigest, Fingerprint, RangeSet, route};

use crate::command::finish;
use crate::device::{Device, fingerprints_below};
use crate::house::{House, Person};
use crate::waiting::{BACKED_UP_WITHIN, eventually};

/// Sent in one shard.
const SMALL: usize = 150_000;
/// Sent in several, and fetched in several pieces.
const LARGE: usize = 9 << 20;

/// Who does what while somebody crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// The client is mounted for the first time.
    Beginning,
    /// The client takes photos in and sends them.
    Keeping,
    /// The client shows what another device sent.
    Arriving,
    /// The client gives the room of a photo back.
    Freeing,
    /// The client fetches it again.
    Fetching,
    /// The server takes photos in.
    Receiving,
    /// The server links a photo that somebody else sent.
    Linking,
    /// The server finds a photo damaged that somebody else sent.
    Finding,
    /// The server reads what it stored again.
    Scrubbing,
    /// The server drops an upload that is not wanted any more.
    Dropping,
    /// The administrator purges the trash, and what nobody has any more goes.
    Clearing,
}

/// Where a point is met.
fn scene_of(point: CrashPoint) -> Scene {
    match point {
        CrashPoint::JournalCreated | CrashPoint::JournalRenamed => Scene::Beginning,
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
        | CrashPoint::NamesDequeued => Scene::Keeping,
        CrashPoint::PlaceholderCreated
        | CrashPoint::PlaceholderLinked
        | CrashPoint::PlaceholdersSynced
        | CrashPoint::RemoteNamesRecorded => Scene::Arriving,
        CrashPoint::EvictionRecorded | CrashPoint::EvictionMarked | CrashPoint::EvictionPunched => {
            Scene::Freeing
        }
        CrashPoint::FetchedRangeSynced
        | CrashPoint::FetchedRangeRecorded
        | CrashPoint::FetchedFileSynced
        | CrashPoint::PlaceholderCleared
        | CrashPoint::FetchRecorded => Scene::Fetching,
        CrashPoint::ShardWritten
        | CrashPoint::ShardSynced
        | CrashPoint::ShardListed
        | CrashPoint::ImageHashed
        | CrashPoint::ImageSynced
        | CrashPoint::ImageNamed
        | CrashPoint::ImageNameSynced
        | CrashPoint::ImageRecorded
        | CrashPoint::LibraryRecorded => Scene::Receiving,
        CrashPoint::ProofVerified | CrashPoint::LinkRecorded => Scene::Linking,
        CrashPoint::DamageRecorded | CrashPoint::DamageQuarantined => Scene::Finding,
        CrashPoint::PageScrubbed | CrashPoint::ScrubRecorded => Scene::Scrubbing,
        CrashPoint::UploadUnlisted => Scene::Dropping,
        CrashPoint::TrashPurged | CrashPoint::ImageUnindexed | CrashPoint::ImageRemoved => {
            Scene::Clearing
        }
    }
}

/// Plays one scene for all its points.
#[track_caller]
fn play(scene: Scene, act: impl Fn(&str)) {
    for point in CrashPoint::ALL
        .iter()
        .filter(|point| scene_of(**point) == scene)
    {
        println!("{scene:?}: crash at {}", point.name());
        act(point.name());
    }
}

/// Copies a photo as a program does; whether it was told that all went well.
fn is_copied(photo: &Path, device: &Device) -> bool {
    fs::copy(photo, device.path(photo.file_name().expect("a name"))).is_ok()
}

/// Every photo that was taken is whole in the mount, on the server and in the library, and nothing
/// else is.
#[track_caller]
fn all_is_kept(house: &House, person: &Person, device: &Device) {
    let shelf = house.shelf("camera");
    device.wait();
    assert_eq!(
        device.contents(),
        fingerprints_below(&shelf),
        "the mount shows what was copied"
    );
    eventually(BACKED_UP_WITHIN, "the library has all names", || {
        device.status().number("/names_queued") == 0
    });
    house.keeps_all_of(&shelf, person, "");
    assert_eq!(
        house.server.images().len(),
        fingerprints_below(&shelf).len(),
        "nothing else was stored"
    );
}

/// A house in which somebody's photo is backed up, by a device that is unmounted again.
fn house_with_a_photo(bytes: usize) -> (House, Person, Device, PathBuf) {
    let mut house = House::new();
    let anna = house.person("anna");
    let mut device = house.device(&anna, "laptop");
    let (photo, _) = house.photo("a.jpg", bytes);
    device.copy_in(&photo);
    device.wait();
    eventually(BACKED_UP_WITHIN, "its name is known", || {
        device.status().number("/names_queued") == 0
    });
    device.unmount();
    (house, anna, device, photo)
}

#[test]
fn a_crash_of_a_first_mount_leaves_nothing_that_hinders_the_next() {
    play(Scene::Beginning, |at| {
        let mut house = House::new();
        let anna = house.person("anna");
        let mut device = house.unmounted(&anna, "laptop");
        device.mount_to_crash(at);
        device.crashes();
        device.mount();
        let (photo, _) = house.photo("a.jpg", SMALL);
        device.copy_in(&photo);
        all_is_kept(&house, &anna, &device);
    });
}

#[test]
fn a_crash_of_the_client_anywhere_on_the_way_out_loses_nothing_and_sends_nothing_twice() {
    play(Scene::Keeping, |at| {
        let mut house = House::new();
        let anna = house.person("anna");
        let link = house.link();
        let mut device = house.linked(&anna, "laptop", &link);
        let photos = [
            house.photo("small.jpg", SMALL).0,
            house.photo("large.jpg", LARGE).0,
        ];
        device.mount_to_crash(at);
        let copied: Vec<bool> = photos
            .iter()
            .map(|photo| is_copied(photo, &device))
            .collect();
        device.crashes();
        link.break_connections();
        let images = photos
            .each_ref()
            .map(|photo| fs::read(photo).expect("a photo"));
        let sizes = images
            .each_ref()
            .map(|photo| (Fingerprint::of(photo), photo.len() as u64));
        let had = house.ask(&anna).arrived(&sizes);
        link.take_shards();

        device.mount();
        for (photo, was_copied) in photos.iter().zip(copied) {
            assert!(
                was_copied || is_copied(photo, &device),
                "nobody is in the way now"
            );
        }
        all_is_kept(&house, &anna, &device);
        assert_eq!(
            crate::kills::sent_again(&link, &had),
            0,
            "sent although the server had it"
        );
    });
}

#[test]
fn a_crash_while_photos_of_another_device_are_shown_shows_each_once_and_none_that_is_not_there() {
    play(Scene::Arriving, |at| {
        let (house, anna, first, photo) = house_with_a_photo(SMALL);
        let mut second = house.unmounted(&anna, "phone");
        second.mount_to_crash(at);
        second.crashes();
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
fn a_crash_while_a_photo_gives_up_its_room_leaves_a_photo_or_a_placeholder_that_says_so() {
    play(Scene::Freeing, |at| {
        let (_house, _anna, mut device, photo) = house_with_a_photo(LARGE);
        device.mount_to_crash(at);
        let freed = finish(device.heirloom([Path::new("free"), &device.path("a.jpg")]));
        assert_ne!(freed.code, 0, "nobody was told that it was done: {freed}");
        device.crashes();
        says_what_it_is(&mut device, &photo);
    });
}

#[test]
fn a_crash_while_a_photo_is_fetched_leaves_a_photo_or_a_placeholder_that_says_so() {
    play(Scene::Fetching, |at| {
        let (_house, _anna, mut device, photo) = house_with_a_photo(LARGE);
        device.mount();
        finish(device.heirloom([Path::new("free"), &device.path("a.jpg")])).succeeds();
        device.unmount();
        device.mount_to_crash(at);
        let place = device.path("a.jpg");
        // It may have been answered before the crash, but never with other bytes.
        let reading = thread::spawn(move || fs::read(place));
        device.crashes();
        if let Ok(read) = reading.join().expect("reading does not panic") {
            assert!(
                read == fs::read(&photo).expect("a photo"),
                "other bytes were read"
            );
        }
        says_what_it_is(&mut device, &photo);
    });
}

/// The spool's file is the whole photo wherever it is not called a placeholder; and it can be read.
#[track_caller]
fn says_what_it_is(device: &mut Device, photo: &Path) {
    let photo = fs::read(photo).expect("a photo");
    let spooled = device.state().join("spool/a.jpg");
    device.mount();
    let is_known = || !device.status().says("/comparing") && device.status().waiting() == 0;
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
fn a_crash_of_the_server_anywhere_on_the_way_in_loses_nothing_that_it_vouched_for() {
    play(Scene::Receiving, |at| {
        let mut house = House::new();
        let anna = house.person("anna");
        house.server.stop();
        house.server.start_to_crash(at);
        let mut device = house.device(&anna, "laptop");
        let photos = [
            house.photo("small.jpg", SMALL),
            house.photo("large.jpg", LARGE),
        ];
        for (photo, _) in &photos {
            device.copy_in(photo);
        }
        house.server.crashes();
        let reported: Vec<_> = (photos
            .iter()
            .map(|(photo, image)| (photo.file_name().expect("a name"), *image)))
        .filter(|(name, _)| device.attribute(name.to_str().expect("plain"), "state") == "backed_up")
        .map(|(_, image)| image)
        .collect();
        // Whatever has an image's name is that image, at any moment.
        let stored = house.server.images();
        assert!(
            reported.iter().all(|image| stored.contains_key(image)),
            "it was vouched for"
        );
        house.server.start_again();
        all_is_kept(&house, &anna, &device);
        device.unmount();
        nothing_is_left_over(&house);
    });
}

/// Nothing but images and an empty folder of uploads is on the server's disk.
#[track_caller]
fn nothing_is_left_over(house: &House) {
    let left = crate::server::files_below(&house.server.data().join("uploads"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_crash_of_the_server_while_it_links_leaves_a_link_or_none() {
    play(Scene::Linking, |at| {
        let (mut house, _anna, _device, photo) = house_with_a_photo(SMALL);
        let ben = house.person("ben");
        house.server.stop();
        house.server.start_to_crash(at);
        let device = house.device(&ben, "tablet");
        device.copy_in(&photo);
        house.server.crashes();
        house.server.start_again();
        all_is_kept(&house, &ben, &device);
    });
}

#[test]
fn a_crash_of_the_server_when_it_finds_damage_never_gives_the_damaged_bytes_out() {
    play(Scene::Finding, |at| {
        let (mut house, anna, _device, photo) = house_with_a_photo(SMALL);
        let ben = house.person("ben");
        let bytes = fs::read(&photo).expect("a photo");
        let image = Fingerprint::of(&bytes);
        damage_the_only_image(&house);
        house.server.stop();
        house.server.start_to_crash(at);
        let device = house.device(&ben, "tablet");
        device.copy_in(&photo);
        house.server.crashes();
        house.server.start_again();
        let given = house.ask(&anna).image(image);
        assert!(
            given.is_none_or(|given| given == bytes),
            "damaged bytes were given out"
        );
        all_is_kept(&house, &ben, &device);
        assert!(house.ask(&anna).image(image).expect("it is healed") == bytes);
    });
}

/// Flips a bit on the server's disk.
fn damage_the_only_image(house: &House) {
    let stored = crate::server::files_below(&house.server.data().join("images"))
        .pop()
        .expect("an image");
    let mut bytes = fs::read(&stored).expect("an image");
    bytes[SMALL / 2] ^= 1;
    fs::write(&stored, bytes).expect("writable");
}

#[test]
fn a_crash_of_the_server_while_it_scrubs_forgets_no_damage_that_it_found() {
    play(Scene::Scrubbing, |at| {
        let (mut house, anna, mut device, photo) = house_with_a_photo(SMALL);
        house
            .server
            .with_options(&["--scrub-every", "1s", "--scrub-rate", "100"]);
        house.server.stop();
        damage_the_only_image(&house);
        house.server.start_and_crash(at);
        house.server.start_again();
        device.mount();
        let (bytes, asker) = (fs::read(&photo).expect("a photo"), house.ask(&anna));
        let image = Fingerprint::of(&bytes);
        eventually(BACKED_UP_WITHIN, "it is healed", || {
            asker.image(image).is_some_and(|given| given == bytes)
        });
        all_is_kept(&house, &anna, &device);
    });
}

#[test]
fn a_crash_while_what_nobody_has_is_cleared_away_leaves_whole_images_and_no_promise_without_one() {
    play(Scene::Clearing, |at| {
        let (house, anna, mut device, photo) = house_with_a_photo(SMALL);
        let ben = house.person("ben");
        let bens = house.device(&ben, "tablet");
        let stays = house.shelf("bens").join("b.jpg");
        fs::write(&stays, fs::read(&photo).expect("a photo").repeat(2)).expect("another photo");
        bens.copy_in(&stays);
        bens.wait();
        device.mount();
        fs::remove_file(device.path("a.jpg")).expect("removed");
        eventually(BACKED_UP_WITHIN, "the library knows", || {
            house.ask(&anna).library().is_empty()
        });

        house
            .server
            .administer_to_crash(at, &["trash", "purge", "--grace", "0s"]);
        let bytes = fs::read(&photo).expect("a photo");
        let image = Fingerprint::of(&bytes);
        let left = house.server.images();
        assert!(
            left.contains_key(&Fingerprint::of(&fs::read(&stays).expect("a photo"))),
            "it is Ben's"
        );
        assert_eq!(left.contains_key(&image), at != "image-removed");
        assert_eq!(
            house.ask(&anna).image(image),
            None,
            "it is not hers any more"
        );

        // The same photo comes again, and is what it was.
        device.copy_in(&photo);
        device.wait();
        assert!(house.ask(&anna).image(image).expect("it is hers again") == bytes);
        house
            .server
            .administer(&["trash", "purge", "--grace", "0s"])
            .succeeds();
        assert_eq!(house.server.images().len(), 2, "and stays");

        fs::remove_file(device.path("a.jpg")).expect("removed");
        eventually(BACKED_UP_WITHIN, "the library knows", || {
            house.ask(&anna).library().is_empty()
        });
        house
            .server
            .administer_to_crash(at, &["trash", "purge", "--grace", "0s"]);
        house
            .server
            .administer(&["trash", "purge", "--grace", "0s"])
            .succeeds();
        assert_eq!(
            house.server.images().len(),
            1,
            "what the crash left is found"
        );
    });
}

#[test]
fn a_crash_of_the_server_while_an_upload_is_dropped_leaves_no_list_without_bytes() {
    play(Scene::Dropping, |at| {
        let mut house = House::new();
        let anna = house.person("anna");
        house.server.stop();
        house.server.start_to_crash(at);
        let photo = house.camera.take(SMALL);
        let (image, half) = (Fingerprint::of(&photo), &photo[..SMALL / 2]);
        let asker = house.ask(&anna);
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
            asker
                .ask("PUT", &route::shard(image, offset as u64), &headers, bytes)
                .status
        };
        assert_eq!(put(0, half), 200);
        let dropping = {
            let asker = asker.clone();
            thread::spawn(move || asker.ask("DELETE", &route::upload(image), &[], b""))
        };
        house.server.crashes();
        drop(dropping.join());
        house.server.start_again();
        assert_eq!(
            house.ask(&anna).arrived(&[(image, SMALL as u64)])[&image],
            RangeSet::new(),
            "no list is left"
        );
        assert_eq!(put(SMALL / 2, &photo[SMALL / 2..]), 200);
        let said = house
            .ask(&anna)
            .arrived(&[(image, SMALL as u64)])
            .remove(&image)
            .expect("an answer");
        assert!(!said.covers(SMALL as u64), "the first half was dropped");
        assert!((200..300).contains(&put(0, half)));
        assert!(house.ask(&anna).image(image).expect("it is whole") == photo);
    });
}

#[test]
fn every_crash_point_stands_in_the_table_with_its_test_and_no_other_does() {
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
    let here = include_str!("crashing.rs");
    let unknown: BTreeSet<_> = listed
        .iter()
        .filter(|(_, test)| !here.contains(&format!("fn {test}()")))
        .collect();
    assert!(unknown.is_empty(), "tests that are not here: {unknown:?}");
}
