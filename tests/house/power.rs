//! The power fails, of either side, at any moment: what was durable is there and right, what is
//! torn is known as torn.
//!
//! `scripts/torture` cuts more often; `HEIRLOOM_SEED` and `HEIRLOOM_ROUNDS` repeat some.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, RangeSet};
use rustix::fs::XattrFlags;

use crate::ask::Asker;
use crate::chance::{rounds, seeded};
use crate::command::finish;
use crate::device::{Device, fingerprints_below};
use crate::disk::{Disk, Yard};
use crate::house::{House, Person};
use crate::photo::Camera;
use crate::server::{Server, files_below};
use crate::waiting::{BACKED_UP_WITHIN, eventually};

/// How often `scripts/test` cuts the power of each side.
const CUTS: usize = 4;

/// Time between two cuts, at most, in milliseconds.
const BETWEEN_MS_MAX: u64 = 1_500;

/// The mark of a file whose bytes may not be on the disk; see docs/FORMAT.md.
const MARK: &str = "user.heirloom.mark";

/// Photos by name.
type Named = BTreeMap<String, Fingerprint>;

/// Somebody who copies photos into a mount for as long as the test goes on.
#[derive(Debug, Default)]
struct Work {
    enough: AtomicBool,
    /// Held for each photo, and by whoever looks at what a cut left: the disk is not to be full
    /// before the last one.
    turn: Mutex<()>,
    /// Every photo that was begun, with its length.
    begun: Mutex<BTreeMap<Fingerprint, u64>>,
    /// The names whose `fsync` returned.
    synced: Mutex<Named>,
    /// The names that were said to be backed up.
    reported: Mutex<Named>,
}

impl Work {
    /// Writes one photo after the other, every second one with `fsync`, and asks after them.
    fn go_on(&self, mountpoint: &Path, seed: u64) {
        let (mut camera, mut chance) = (Camera::new(seed), fastrand::Rng::with_seed(seed));
        for number in 0.. {
            let turn = self.turn.lock().expect("no panic there");
            if self.enough.load(SeqCst) {
                return;
            }
            let bytes = chance.usize(10_000..1_000_000);
            let (name, photo) = (format!("IMG_{number:05}.jpg"), camera.take(bytes));
            let image = Fingerprint::of(&photo);
            self.begun
                .lock()
                .expect("no panic there")
                .insert(image, bytes as u64);
            let mut file = File::create(mountpoint.join(&name)).expect("writable");
            file.write_all(&photo).expect("writable");
            if chance.bool() {
                file.sync_all().expect("durable");
                // The name, too: fsync(2) promises that for the file's folder alone.
                File::open(mountpoint)
                    .and_then(|folder| folder.sync_all())
                    .expect("durable");
                self.synced
                    .lock()
                    .expect("no panic there")
                    .insert(name.clone(), image);
            }
            drop(file);
            self.ask(
                mountpoint,
                &format!("IMG_{:05}.jpg", chance.usize(..=number)),
            );
            drop(turn);
            thread::sleep(Duration::from_millis(chance.u64(..60)));
        }
    }

    fn ask(&self, mountpoint: &Path, name: &str) {
        let attribute = |attribute: &str| {
            let mut value = [0_u8; 64];
            let length = rustix::fs::getxattr(mountpoint.join(name), attribute, &mut value).ok()?;
            Some(String::from_utf8_lossy(&value[..length]).into_owned())
        };
        if attribute("user.heirloom.state").as_deref() == Some("backed_up") {
            let image = attribute("user.heirloom.fingerprint").and_then(|image| image.parse().ok());
            self.reported
                .lock()
                .expect("no panic there")
                .insert(name.to_owned(), image.expect("a fingerprint"));
        }
    }

    fn begun(&self) -> BTreeMap<Fingerprint, u64> {
        self.begun.lock().expect("no panic there").clone()
    }

    fn synced(&self) -> Named {
        self.synced.lock().expect("no panic there").clone()
    }

    fn reported(&self) -> Named {
        self.reported.lock().expect("no panic there").clone()
    }
}

/// Cuts the power of `disk` at random moments while somebody works in `device`; `look` looks at
/// what is left each time, and is told what was durable and what was said to be backed up before.
fn cut_under_load(
    (yard, disk): (&Yard, &Disk),
    device: &Device,
    chance: &mut fastrand::Rng,
    work: &Work,
    mut look: impl FnMut(&Disk, &Named, &Named),
) {
    let (mountpoint, seed) = (device.mountpoint(), chance.u64(..));
    thread::scope(|scope| {
        scope.spawn(|| work.go_on(&mountpoint, seed));
        // Also when a look fails: or the test would never end.
        let _end = Enough(&work.enough);
        for number in 1..=rounds(CUTS) {
            thread::sleep(Duration::from_millis(chance.u64(100..BETWEEN_MS_MAX)));
            let (synced, reported) = (work.synced(), work.reported());
            let left = yard.cut(disk, &format!("cut-{number}"));
            let rest = work.turn.lock().expect("no panic there");
            look(&left, &synced, &reported);
            left.discard();
            drop(rest);
        }
    });
}

/// Ends the work when it is dropped.
struct Enough<'work>(&'work AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn what_was_durable_survives_a_power_cut_of_the_client() {
    let mut chance = seeded();
    let house = House::new();
    let anna = house.person("anna");
    let yard = Yard::new(&house.shelf("yard"));
    let disk = yard.disk("laptop");
    let mut device = house.device_in(&anna, "laptop", disk.folder());
    device.mount();
    let (work, mut torn) = (Work::default(), 0);
    cut_under_load(
        (&yard, &disk),
        &device,
        &mut chance,
        &work,
        |left, synced, reported| {
            torn += look_at_client(&house, &anna, left, synced, reported, &work);
        },
    );
    let strange: Vec<_> = house
        .server
        .images()
        .into_keys()
        .filter(|image| !work.begun().contains_key(image))
        .collect();
    assert!(
        strange.is_empty(),
        "on the server, and never a photo: {strange:?}"
    );
    println!(
        "{} photos, {torn} times one was torn by a cut and said so",
        work.begun().len()
    );
}

/// Starts the client on what a cut left. Answers how many files were torn.
fn look_at_client(
    house: &House,
    anna: &Person,
    left: &Disk,
    synced: &Named,
    reported: &Named,
    work: &Work,
) -> usize {
    after_another_boot(&left.folder().join("state/spool"));
    let mut device = house.device_in(anna, "laptop", left.folder());
    device.mount();
    eventually(BACKED_UP_WITHIN, "all that is whole is backed up", || {
        let status = device.status();
        !status.says("/comparing") && status.waiting() == 0
    });
    let begun = work.begun();
    let here: BTreeMap<_, _> = device.contents().into_iter().collect();
    for (name, image) in reported {
        assert_eq!(device.attribute(name, "state"), "backed_up", "{name}");
        assert_eq!(here.get(name), Some(image), "{name} was durable");
    }
    for (name, image) in synced {
        assert_eq!(here.get(name), Some(image), "{name} was durable");
        // Cut between its sync and its end, nobody can know that no more was to come; its owner
        // does.
        if device.attribute(name, "state") == "failed" {
            assert!(
                device.attribute(name, "error").starts_with("incomplete"),
                "{name}"
            );
            finish(device.heirloom([Path::new("retry"), &device.path(name)])).succeeds();
            device.wait_for(&[name]);
        }
        assert_eq!(device.attribute(name, "state"), "backed_up", "{name}");
    }
    let torn: Vec<_> = here
        .iter()
        .filter(|(_, image)| !begun.contains_key(image))
        .map(|(name, _)| name)
        .collect();
    for name in &torn {
        assert_eq!(device.attribute(name, "state"), "failed", "{name} is torn");
    }
    device.unmount();
    torn.len()
}

/// The marks of a spool as they look to the boot that follows a power cut: they name one that is
/// over.
fn after_another_boot(spool: &Path) {
    for file in files_below(spool) {
        let mut mark = [0_u8; 128];
        let Ok(length) = rustix::fs::getxattr(&file, MARK, &mut mark) else {
            continue;
        };
        let mark = std::str::from_utf8(&mark[..length]).expect("a mark is text");
        let mut words: Vec<_> = mark.split(' ').collect();
        // Version, word, boot; and of some the process.
        words[2] = "an-earlier-boot";
        let earlier = words.join(" ");
        rustix::fs::setxattr(&file, MARK, earlier.as_bytes(), XattrFlags::REPLACE).expect("marked");
    }
}

#[test]
fn what_was_backed_up_survives_a_power_cut_of_the_server() {
    let mut chance = seeded();
    let house = House::new();
    let yard = Yard::new(&house.shelf("yard"));
    let disk = yard.disk("server");
    let server = Server::start(disk.folder());
    let token = server.add_user("anna");
    let anna = Person::new("anna", &token);
    let mut device = house.device_of_server(&anna, "laptop", &server);
    device.mount();
    let work = Work::default();
    cut_under_load(
        (&yard, &disk),
        &device,
        &mut chance,
        &work,
        |left, _, reported| {
            look_at_server(left, &token, reported, &work);
        },
    );
    device.wait();
    assert_eq!(
        fingerprints_below(&device.mountpoint()).len(),
        work.begun().len(),
        "nobody stood in its way"
    );
    println!(
        "{} photos, {} seen backed up",
        work.begun().len(),
        work.reported().len()
    );
}

/// Starts the server on what a cut left.
fn look_at_server(left: &Disk, token: &str, reported: &Named, work: &Work) {
    let server = Server::start(left.folder());
    let asker = Asker::new(server.address(), token);
    let begun = work.begun();
    let images: Vec<_> = reported
        .values()
        .map(|image| (*image, begun[image]))
        .collect();
    let stored = server.images();
    for images in images.chunks(1_000) {
        let arrived = asker.arrived(images);
        for (image, bytes) in images {
            assert_eq!(
                arrived.get(image),
                Some(&RangeSet::whole(*bytes)),
                "{image} was said to be backed up"
            );
            assert_eq!(
                stored.get(image),
                Some(bytes),
                "{image} is whole on the server's disk"
            );
        }
    }
    // Whatever the index promises can be had.
    let all: Vec<_> = begun
        .iter()
        .map(|(image, bytes)| (*image, *bytes))
        .collect();
    for (image, arrived) in all.chunks(1_000).flat_map(|images| asker.arrived(images)) {
        if arrived == RangeSet::whole(begun[&image]) {
            let bytes = asker.image(image).expect("it says that it has it");
            assert_eq!(
                Fingerprint::of(&bytes),
                image,
                "what is given back is what was sent"
            );
        }
    }
    server.end();
}
