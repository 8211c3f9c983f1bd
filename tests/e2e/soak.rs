//! Many small operations leak nothing: no memory, no descriptors, no files.
//!
//! `scripts/torture --soak OPERATIONS` runs more of them; a busy folder sees a million in an hour.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::eventually::{BACKED_UP_WITHIN, SOON, eventually};
use crate::installation::{Installation, User};
use crate::seed::{operations, seeded};
use crate::server::{Server, files_below};

/// How many operations `scripts/test` runs.
const OPERATIONS: usize = 3_000;
/// The number of different photos: the same ones come and go, so that the server's storage is
/// bounded.
const PHOTOS: usize = 200;
/// The number of different names.
const NAMES: usize = 300;
/// Bytes of a photo.
const PHOTO_BYTES: usize = 6_000;
/// Operations between two pauses in which everything is backed up.
const OPERATIONS_BETWEEN_PAUSES: usize = 5_000;

/// Descriptors that may come and go: connections, and spare files for the kernel, at most 512.
const DESCRIPTORS_SLACK: usize = 512 + 24;
/// KiB of memory by which an allocator may vary: less than a dozen bytes for each of a million
/// operations.
const MEMORY_SLACK_KIB: u64 = 10 << 10;

/// What an idle process and its folder use.
#[derive(Clone, Debug)]
struct ResourceUsage {
    descriptors: usize,
    memory_kib: u64,
    /// Files that are neither photos nor databases.
    files: Vec<PathBuf>,
}

impl ResourceUsage {
    fn of(process: u32, folder: &Path, is_kept: impl Fn(&Path) -> bool) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let mut files = files_below(folder);
        files.retain(|file| !is_kept(file.strip_prefix(folder).expect("below it")));
        Self {
            descriptors: fs::read_dir(format!("/proc/{process}/fd"))
                .expect("our own child")
                .count(),
            memory_kib: memory
                .expect("a line of its own")
                .parse()
                .expect("a number"),
            files,
        }
    }

    /// Asserts that nothing has grown since `before`.
    #[track_caller]
    fn assert_no_more_than(&self, before: &Self, who: &str) {
        assert!(
            self.descriptors <= before.descriptors + DESCRIPTORS_SLACK,
            "{who}: descriptors {before:?} {self:?}"
        );
        assert!(
            self.memory_kib <= before.memory_kib + MEMORY_SLACK_KIB,
            "{who}: memory {before:?} {self:?}"
        );
        assert!(
            self.files.len() <= before.files.len(),
            "{who}: files {before:?} {self:?}"
        );
    }
}

/// Does one small random operation after another in one folder.
struct RandomUser {
    folder: PathBuf,
    photos: Vec<Vec<u8>>,
    random: fastrand::Rng,
}

impl RandomUser {
    fn name(&mut self) -> PathBuf {
        self.folder
            .join(format!("{}.jpg", self.random.usize(..NAMES)))
    }

    /// Does one operation. Names are random, so most operations may find nothing under theirs.
    fn act(&mut self) {
        let name = self.name();
        let done = match self.random.u8(..10) {
            0..3 => fs::write(&name, &self.photos[self.random.usize(..PHOTOS)]),
            3 => fs::rename(&name, self.name()),
            4 => fs::remove_file(&name),
            5..7 => fs::read(&name).map(drop),
            7..9 => fs::metadata(&name).map(drop),
            _ => fs::read_dir(&self.folder).map(|entries| {
                let listed: Vec<_> = entries
                    .map(|entry| entry.expect("a list").file_name())
                    .collect();
                let names: BTreeSet<_> = listed.iter().collect();
                assert!(
                    names.len() == listed.len() && names.len() <= NAMES,
                    "{listed:?}"
                );
            }),
        };
        let is_absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        assert!(
            done.as_ref().err().is_none_or(is_absent),
            "{}: {done:?}",
            name.display()
        );
    }
}

/// Waits until everything is backed up and named; then returns what both sides use.
fn wait_until_idle(device: &Device, server: &Server) -> [ResourceUsage; 2] {
    device.wait();
    eventually(BACKED_UP_WITHIN, "all names are known", || {
        device.status().number("/names_queued") == 0
    });
    let uploads = server.data().join("uploads");
    eventually(SOON, "nothing is left of uploads", || {
        files_below(&uploads).is_empty()
    });
    let is_database = |file: &Path| {
        let name = file.to_string_lossy();
        name.starts_with("journal.redb") || name.starts_with("index.sqlite")
    };
    let client = ResourceUsage::of(device.process_id(), &device.state(), |file| {
        file.starts_with("spool") || is_database(file)
    });
    let kept = |file: &Path| file.starts_with("images") || is_database(file);
    [
        client,
        ResourceUsage::of(server.process_id(), server.data(), kept),
    ]
}

fn random_user(installation: &mut Installation, device: &Device) -> RandomUser {
    let folder = device.path("day");
    fs::create_dir(&folder).expect("mkdir");
    let photos = (0..PHOTOS)
        .map(|_| installation.generator.generate(PHOTO_BYTES))
        .collect();
    RandomUser {
        folder,
        photos,
        random: seeded(),
    }
}

#[test]
fn a_day_of_small_operations_leaks_nothing() {
    let mut installation = Installation::new();
    let anna: User = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let mut hand = random_user(&mut installation, &device);
    let operations = operations(OPERATIONS);
    let mut samples = Vec::new();
    // A tenth of the operations to warm up, so that caches and pools reach their full size; then
    // half of them, then the rest.
    let checkpoints = [operations / 10, operations / 2, operations];
    let mut done = 0;
    for checkpoint in checkpoints {
        while done < checkpoint {
            let stretch = OPERATIONS_BETWEEN_PAUSES.min(checkpoint - done);
            (0..stretch).for_each(|_| hand.act());
            done += stretch;
            device.wait();
        }
        samples.push(wait_until_idle(&device, &installation.server));
        let [client, server] = samples.last().expect("just pushed");
        println!(
            "after {done}: client {} descriptors, {} KiB; server {} descriptors, {} KiB",
            client.descriptors, client.memory_kib, server.descriptors, server.memory_kib
        );
    }
    for later in &samples[1..] {
        for (who, side) in ["client", "server"].into_iter().zip(0..) {
            later[side].assert_no_more_than(&samples[0][side], who);
        }
    }
    device.unmount();
    installation.server.stop();
}
