//! Power cuts of either side at any moment: durable photos are there and intact, torn files are
//! recognised as torn.
//!
//! `scripts/torture` runs more cuts; `HEIRLOOM_SEED` and `HEIRLOOM_ROUNDS` repeat some.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, RangeSet};
use parking_lot::Mutex;
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

/// How many power cuts of each side `scripts/test` runs.
const CUTS: usize = 4;

/// The longest time between two cuts, in milliseconds.
const BETWEEN_MS_MAX: u64 = 1_500;

/// The xattr with the write state of a file whose bytes may not be on the disk; see docs/FORMAT.md.
const WRITE_STATE: &str = "user.heirloom.mark";

/// Fingerprints of photos by name.
type PhotosByName = BTreeMap<String, Fingerprint>;

/// Copies photos into a mount until the test ends.
#[derive(Debug, Default)]
struct CopyLoop {
    stop: AtomicBool,
    /// Held while a photo is copied, and while the state after a cut is checked: the disk must not
    /// be full before the last cut.
    copying: Mutex<()>,
    /// Every photo that was started, with its length.
    started: Mutex<BTreeMap<Fingerprint, u64>>,
    /// Photos whose `fsync` returned.
    synced: Mutex<PhotosByName>,
    /// Photos that were reported as backed up.
    reported: Mutex<PhotosByName>,
}

impl CopyLoop {
    /// Writes one photo after the other, about half of them with `fsync`, and asks for their
    /// states.
    fn run(&self, mountpoint: &Path, seed: u64) {
        let (mut generator, mut random) =
            (PhotoGenerator::new(seed), fastrand::Rng::with_seed(seed));
        for number in 0.. {
            let copying = self.copying.lock();
            if self.stop.load(SeqCst) {
                return;
            }
            let bytes = random.usize(10_000..1_000_000);
            let (name, photo) = (format!("IMG_{number:05}.jpg"), generator.generate(bytes));
            let image = Fingerprint::of(&photo);
            self.started.lock().insert(image, bytes as u64);
            let mut file = File::create(mountpoint.join(&name)).expect("writable");
            file.write_all(&photo).expect("writable");
            if random.bool() {
                file.sync_all().expect("durable");
                // The name, too: fsync(2) of a file promises nothing about its folder.
                File::open(mountpoint)
                    .and_then(|folder| folder.sync_all())
                    .expect("durable");
                self.synced.lock().insert(name.clone(), image);
            }
            drop(file);
            self.record_state(
                mountpoint,
                &format!("IMG_{:05}.jpg", random.usize(..=number)),
            );
            drop(copying);
            thread::sleep(Duration::from_millis(random.u64(..60)));
        }
    }

    fn record_state(&self, mountpoint: &Path, name: &str) {
        let attribute = |attribute: &str| {
            let mut value = [0_u8; 64];
            let length = rustix::fs::getxattr(mountpoint.join(name), attribute, &mut value).ok()?;
            Some(String::from_utf8_lossy(&value[..length]).into_owned())
        };
        if attribute("user.heirloom.state").as_deref() == Some("backed_up") {
            let image = attribute("user.heirloom.fingerprint").and_then(|image| image.parse().ok());
            self.reported
                .lock()
                .insert(name.to_owned(), image.expect("a fingerprint"));
        }
    }

    fn started(&self) -> BTreeMap<Fingerprint, u64> {
        self.started.lock().clone()
    }

    fn synced(&self) -> PhotosByName {
        self.synced.lock().clone()
    }

    fn reported(&self) -> PhotosByName {
        self.reported.lock().clone()
    }
}

/// Cuts the power of `disk` at random moments while photos are copied to `device`. After each cut,
/// `look` checks the state: it gets the disk, and the photos that were synced and reported before.
fn cut_under_load(
    (disk_images, disk): (&DiskImages, &Disk),
    device: &Device,
    random: &mut fastrand::Rng,
    work: &CopyLoop,
    mut look: impl FnMut(&Disk, &PhotosByName, &PhotosByName),
) {
    let (mountpoint, seed) = (device.mountpoint(), random.u64(..));
    thread::scope(|scope| {
        scope.spawn(|| work.run(&mountpoint, seed));
        // Also when a check fails: otherwise the test would never end.
        let _end = StopOnDrop(&work.stop);
        for number in 1..=rounds(CUTS) {
            thread::sleep(Duration::from_millis(random.u64(100..BETWEEN_MS_MAX)));
            let (synced, reported) = (work.synced(), work.reported());
            let left = disk_images.clone_now(disk, &format!("cut-{number}"));
            let rest = work.copying.lock();
            look(&left, &synced, &reported);
            left.discard();
            drop(rest);
        }
    });
}

/// Stops the copy loop when it is dropped.
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
    let disk_images = DiskImages::new(&installation.scratch_folder("disk-images"));
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
            torn += check_client(&installation, &anna, left, synced, reported, &work);
        },
    );
    let strange: Vec<_> = installation
        .server
        .images()
        .into_keys()
        .filter(|image| !work.started().contains_key(image))
        .collect();
    assert!(
        strange.is_empty(),
        "on the server, and never a photo: {strange:?}"
    );
    println!(
        "{} photos, {torn} times one was torn by a cut and said so",
        work.started().len()
    );
}

/// Starts the client on the disk after a cut, and checks it. Returns how many files were torn.
fn check_client(
    installation: &Installation,
    anna: &User,
    left: &Disk,
    synced: &PhotosByName,
    reported: &PhotosByName,
    work: &CopyLoop,
) -> usize {
    pretend_earlier_boot(&left.folder().join("state/spool"));
    let mut device = installation.device_in_folder(anna, "laptop", left.folder());
    device.mount();
    eventually(BACKED_UP_WITHIN, "all that is whole is backed up", || {
        let status = device.status();
        !status.flag("/comparing") && status.waiting() == 0
    });
    let started = work.started();
    let here: BTreeMap<_, _> = device.contents().into_iter().collect();
    for (name, image) in reported {
        assert_eq!(device.attribute(name, "state"), "backed_up", "{name}");
        assert_eq!(here.get(name), Some(image), "{name} was durable");
    }
    for (name, image) in synced {
        assert_eq!(here.get(name), Some(image), "{name} was durable");
        // After a cut between its sync and its close, only the user knows that the photo is
        // complete.
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
        .filter(|(_, image)| !started.contains_key(image))
        .map(|(name, _)| name)
        .collect();
    for name in &torn {
        assert_eq!(device.attribute(name, "state"), "failed", "{name} is torn");
    }
    device.unmount();
    torn.len()
}

/// Makes the write states in a spool look as they do after a power cut: they name an earlier boot.
fn pretend_earlier_boot(spool: &Path) {
    for file in files_below(spool) {
        let mut mark = [0_u8; 128];
        let Ok(length) = rustix::fs::getxattr(&file, WRITE_STATE, &mut mark) else {
            continue;
        };
        let mark = std::str::from_utf8(&mark[..length]).expect("a mark is text");
        let mut words: Vec<_> = mark.split(' ').collect();
        // Version, state, boot id; for some states the process.
        words[2] = "an-earlier-boot";
        let earlier = words.join(" ");
        rustix::fs::setxattr(&file, WRITE_STATE, earlier.as_bytes(), XattrFlags::REPLACE)
            .expect("marked");
    }
}

#[test]
fn backed_up_photos_survive_a_power_cut_of_the_server() {
    let mut random = seeded();
    let installation = Installation::new();
    let disk_images = DiskImages::new(&installation.scratch_folder("disk-images"));
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
            check_server(left, &token, reported, &work);
        },
    );
    device.wait();
    assert_eq!(
        fingerprints_below(&device.mountpoint()).len(),
        work.started().len(),
        "every photo is there"
    );
    println!(
        "{} photos, {} seen backed up",
        work.started().len(),
        work.reported().len()
    );
}

/// Starts the server on the disk after a cut, and checks it.
fn check_server(left: &Disk, token: &str, reported: &PhotosByName, work: &CopyLoop) {
    let server = Server::start(left.folder());
    let client = HttpClient::new(server.address(), token);
    let started = work.started();
    let images: Vec<_> = reported
        .values()
        .map(|image| (*image, started[image]))
        .collect();
    let stored = server.images();
    for images in images.chunks(1_000) {
        let arrived = client.received_ranges(images);
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
    // Every image in the index can be read.
    let all: Vec<_> = started
        .iter()
        .map(|(image, bytes)| (*image, *bytes))
        .collect();
    for (image, arrived) in all
        .chunks(1_000)
        .flat_map(|images| client.received_ranges(images))
    {
        if arrived == RangeSet::whole(started[&image]) {
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
