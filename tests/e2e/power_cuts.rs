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

use crate::command::output_of;
use crate::device::{Device, fingerprints_below};
use crate::disk_images::{Disk, DiskImages};
use crate::eventually::{BACKED_UP_WITHIN, eventually};
use crate::http_client::HttpClient;
use crate::installation::{Installation, User};
use crate::photo_generator::PhotoGenerator;
use crate::seed::{rounds, seeded};
use crate::server::{Server, files_below};

/// How often `scripts/test` cuts the power of each side.
const CUTS: usize = 4;

/// Time between two cuts, at most, in milliseconds.
const BETWEEN_MS_MAX: u64 = 1_500;

/// The mark of a file whose bytes may not be on the disk; see docs/FORMAT.md.
const MARK: &str = "user.heirloom.mark";

/// Photos by name.
type PhotosByName = BTreeMap<String, Fingerprint>;

/// Somebody who copies photos into a mount for as long as the test goes on.
#[derive(Debug, Default)]
struct CopyLoop {
    enough: AtomicBool,
    /// Held for each photo, and by whoever looks at what a cut left: the disk is not to be full
    /// before the last one.
    turn: Mutex<()>,
    /// Every photo that was begun, with its length.
    begun: Mutex<BTreeMap<Fingerprint, u64>>,
    /// The names whose `fsync` returned.
    synced: Mutex<PhotosByName>,
    /// The names that were said to be backed up.
    reported: Mutex<PhotosByName>,
}

impl CopyLoop {
    /// Writes one photo after the other, every second one with `fsync`, and asks after them.
    fn go_on(&self, mountpoint: &Path, seed: u64) {
        let (mut generator, mut random) =
            (PhotoGenerator::new(seed), fastrand::Rng::with_seed(seed));
        for number in 0.. {
            let turn = self.turn.lock().expect("no panic there");
            if self.enough.load(SeqCst) {
                return;
            }
            let bytes = random.usize(10_000..1_000_000);
            let (name, photo) = (format!("IMG_{number:05}.jpg"), generator.generate(bytes));
            let image = Fingerprint::of(&photo);
            self.begun
                .lock()
                .expect("no panic there")
                .insert(image, bytes as u64);
            let mut file = File::create(mountpoint.join(&name)).expect("writable");
            file.write_all(&photo).expect("writable");
            if random.bool() {
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
                &format!("IMG_{:05}.jpg", random.usize(..=number)),
            );
            drop(turn);
            thread::sleep(Duration::from_millis(random.u64(..60)));
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

    fn synced(&self) -> PhotosByName {
        self.synced.lock().expect("no panic there").clone()
    }

    fn reported(&self) -> PhotosByName {
        self.reported.lock().expect("no panic there").clone()
    }
}

/// Cuts the power of `disk` at random moments while somebody works in `device`; `look` looks at
/// what is left each time, and is told what was durable and what was said to be backed up before.
fn cut_under_load(
    (disk_images, disk): (&DiskImages, &Disk),
    device: &Device,
    random: &mut fastrand::Rng,
    work: &CopyLoop,
    mut look: impl FnMut(&Disk, &PhotosByName, &PhotosByName),
) {
    let (mountpoint, seed) = (device.mountpoint(), random.u64(..));
    thread::scope(|scope| {
        scope.spawn(|| work.go_on(&mountpoint, seed));
        // Also when a look fails: or the test would never end.
        let _end = StopOnDrop(&work.enough);
        for number in 1..=rounds(CUTS) {
            thread::sleep(Duration::from_millis(random.u64(100..BETWEEN_MS_MAX)));
            let (synced, reported) = (work.synced(), work.reported());
            let left = disk_images.cut(disk, &format!("cut-{number}"));
            let rest = work.turn.lock().expect("no panic there");
            look(&left, &synced, &reported);
            left.discard();
            drop(rest);
        }
    });
}

/// Ends the work when it is dropped.
struct StopOnDrop<'work>(&'work AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn synced_photos_survive_a_power_cut_of_the_client() {
    let mut random = seeded();
    let installation = Installation::new();
    let anna = installation.user("anna");
    let disk_images = DiskImages::new(&installation.scratch_folder("yard"));
    let disk = disk_images.disk("laptop");
    let mut device = installation.device_in_folder(&anna, "laptop", disk.folder());
    device.mount();
    let (work, mut torn) = (CopyLoop::default(), 0);
    cut_under_load(
        (&disk_images, &disk),
        &device,
        &mut random,
        &work,
        |left, synced, reported| {
            torn += look_at_client(&installation, &anna, left, synced, reported, &work);
        },
    );
    let strange: Vec<_> = installation
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
    installation: &Installation,
    anna: &User,
    left: &Disk,
    synced: &PhotosByName,
    reported: &PhotosByName,
    work: &CopyLoop,
) -> usize {
    after_another_boot(&left.folder().join("state/spool"));
    let mut device = installation.device_in_folder(anna, "laptop", left.folder());
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
            output_of(device.heirloom([Path::new("retry"), &device.path(name)])).succeeds();
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
fn backed_up_photos_survive_a_power_cut_of_the_server() {
    let mut random = seeded();
    let installation = Installation::new();
    let disk_images = DiskImages::new(&installation.scratch_folder("yard"));
    let disk = disk_images.disk("server");
    let server = Server::start(disk.folder());
    let token = server.add_user("anna");
    let anna = User::new("anna", &token);
    let mut device = installation.device_at_address(&anna, "laptop", server.address());
    device.mount();
    let work = CopyLoop::default();
    cut_under_load(
        (&disk_images, &disk),
        &device,
        &mut random,
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
fn look_at_server(left: &Disk, token: &str, reported: &PhotosByName, work: &CopyLoop) {
    let server = Server::start(left.folder());
    let client = HttpClient::new(server.address(), token);
    let begun = work.begun();
    let images: Vec<_> = reported
        .values()
        .map(|image| (*image, begun[image]))
        .collect();
    let stored = server.images();
    for images in images.chunks(1_000) {
        let arrived = client.arrived(images);
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
    for (image, arrived) in all.chunks(1_000).flat_map(|images| client.arrived(images)) {
        if arrived == RangeSet::whole(begun[&image]) {
            let bytes = client.image(image).expect("it says that it has it");
            assert_eq!(
                Fingerprint::of(&bytes),
                image,
                "what is given back is what was sent"
            );
        }
    }
    server.end();
}
