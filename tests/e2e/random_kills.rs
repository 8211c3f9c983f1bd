//! Several users with several devices, and kills of any process at any moment.
//!
//! `scripts/torture` runs many rounds; `HEIRLOOM_SEED` and `HEIRLOOM_ROUNDS` repeat some.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, RangeSet};

use crate::device::Device;
use crate::eventually::{BACKED_UP_WITHIN, SOON, eventually};
use crate::installation::{Installation, User};
use crate::kills::sent_again;
use crate::link::Link;
use crate::seed::{rounds, seeded};
use crate::workload::Workload;

/// How many kills `scripts/test` runs.
const ROUNDS: usize = 20;

/// Bytes per second of each link: slow stop that most kills interrupt an upload.
const SLOW: u64 = 8 << 20;

/// The longest time between two kills, in milliseconds.
const WORK_MS_MAX: u64 = 1_200;

/// One device, its workload, and what the server has of it.
struct Workstation {
    owner: User,
    device: Device,
    link: Link,
    workload: Workload,
    /// The ranges of this workload's images that the server had at the last look.
    had: BTreeMap<Fingerprint, RangeSet>,
}

/// The processes to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client(usize),
    Server,
    Both(usize),
    Everybody,
}

impl Victim {
    fn any(random: &mut fastrand::Rng, workstations: usize) -> Self {
        let client = random.usize(..workstations);
        match random.u8(..8) {
            0..3 => Self::Client(client),
            3..5 => Self::Server,
            5..7 => Self::Both(client),
            _ => Self::Everybody,
        }
    }

    fn includes_the_server(self) -> bool {
        !matches!(self, Self::Client(_))
    }

    fn includes(self, workstation: usize) -> bool {
        match self {
            Self::Client(client) | Self::Both(client) => client == workstation,
            Self::Everybody => true,
            Self::Server => false,
        }
    }
}

impl Workstation {
    fn new(installation: &Installation, owner: &User, name: &str, seed: u64) -> Self {
        let link = installation.link();
        link.limit_rate_to(SLOW);
        let mut device = installation.device_over_link(owner, name, &link);
        device.mount();
        // A folder for each device: conflicting names are tested elsewhere.
        let folder = device.path(name);
        fs::create_dir(&folder).expect("mkdir");
        Self {
            owner: owner.clone(),
            device,
            link,
            workload: Workload::new(folder, seed),
            had: BTreeMap::new(),
        }
    }

    /// Asserts that nothing was sent since the last look that the server already had.
    #[track_caller]
    fn assert_nothing_sent_again(&self, when: &str) {
        assert_eq!(
            sent_again(&self.link, &self.had),
            0,
            "{when}: sent although the server had it"
        );
    }

    fn record_server_state(&mut self, installation: &Installation) {
        let images: Vec<_> = self
            .workload
            .ever_written
            .iter()
            .map(|(image, bytes)| (*image, *bytes))
            .collect();
        let client = installation.client(&self.owner);
        self.had = images
            .chunks(1_000)
            .flat_map(|images| client.received_ranges(images))
            .collect();
    }

    /// Checks that files half written at a kill are recognised as such, and removes them.
    fn resolve_uncertain(&mut self) {
        for name in std::mem::take(&mut self.workload.uncertain) {
            let Some(image) = self.workload.fingerprint_at(&name) else {
                continue;
            };
            let path = format!(
                "{}/{name}",
                self.workload
                    .path("")
                    .file_name()
                    .expect("a folder")
                    .to_str()
                    .expect("plain")
            );
            let state = || self.device.attribute(&path, "state");
            eventually(BACKED_UP_WITHIN, "what was torn is looked at", || {
                !["pending", "uploading"].contains(&state().as_str())
            });
            let whole = self.workload.ever_written.contains_key(&image);
            assert!(
                whole || ["failed", "local"].contains(&state().as_str()),
                "{path} is torn, and says {}",
                state()
            );
            fs::remove_file(self.workload.path(&name)).expect("unlink");
        }
    }
}

#[test]
fn no_photo_is_lost_whichever_processes_are_killed() {
    let mut random = seeded();
    let mut installation = Installation::new();
    let (anna, bert) = (installation.user("anna"), installation.user("bert"));
    let people = [(&anna, "laptop"), (&anna, "phone"), (&bert, "camera")];
    let mut workstations: Vec<_> = people
        .map(|(owner, name)| Workstation::new(&installation, owner, name, random.u64(..)))
        .into();
    let rounds = rounds(ROUNDS);
    for round in 1..=rounds {
        let victim = Victim::any(&mut random, workstations.len());
        kill(
            &mut installation,
            &mut workstations,
            victim,
            Duration::from_millis(random.u64(..WORK_MS_MAX)),
            round,
        );
        for workstation in &mut workstations {
            workstation.workload.resolve_unfinished();
            workstation.workload.assert_kept();
        }
    }
    for workstation in &mut workstations {
        workstation.link.full_speed();
        workstation.resolve_uncertain();
        workstation.device.wait();
        workstation.workload.assert_kept();
    }
    assert_all_kept(&installation, &workstations);
    let images: usize = workstations
        .iter()
        .map(|workstation| workstation.workload.ever_written.len())
        .sum();
    let reported: usize = workstations
        .iter()
        .map(|workstation| workstation.workload.reported.len())
        .sum();
    println!("{rounds} rounds, {images} photos, {reported} seen backed up");
}

/// Runs all workloads for a while, then kills the victims and starts them again.
fn kill(
    installation: &mut Installation,
    workstations: &mut [Workstation],
    victim: Victim,
    after: Duration,
    round: usize,
) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        for (number, workstation) in workstations.iter_mut().enumerate() {
            let (workload, device) = (&mut workstation.workload, &mut workstation.device);
            scope.spawn(move || workload.run_until(stop));
            if victim.includes(number) {
                scope.spawn(move || {
                    thread::sleep(after);
                    device.kill();
                });
            }
        }
        thread::sleep(after);
        if victim.includes_the_server() {
            installation.server.kill();
        }
        stop.store(true, SeqCst);
    });
    for workstation in workstations.iter() {
        workstation.link.disconnect();
    }
    for workstation in workstations.iter() {
        workstation.assert_nothing_sent_again(&format!("round {round}, {victim:?}"));
    }
    if victim.includes_the_server() {
        installation.server.start_again();
    }
    for (number, workstation) in workstations.iter_mut().enumerate() {
        workstation.record_server_state(installation);
        workstation.link.reconnect();
        if victim.includes(number) {
            workstation.device.mount();
        }
    }
}

/// Asserts that every photo that was kept or reported as backed up is on the server, and nothing
/// that never was a photo.
#[track_caller]
fn assert_all_kept(installation: &Installation, workstations: &[Workstation]) {
    let images = installation.server.images();
    for workstation in workstations {
        let workload = &workstation.workload;
        let missing: Vec<_> = workload
            .kept
            .iter()
            .filter(|(_, image)| !images.contains_key(image))
            .collect();
        assert!(missing.is_empty(), "not on the server: {missing:?}");
        let missing: Vec<_> = workload
            .reported
            .iter()
            .filter(|image| !images.contains_key(image))
            .collect();
        assert!(
            missing.is_empty(),
            "said to be backed up, and not on the server: {missing:?}"
        );
        let folder = workload
            .path("")
            .file_name()
            .expect("a folder")
            .to_str()
            .expect("plain")
            .to_owned();
        let client = installation.client(&workstation.owner);
        eventually(SOON, "the library lists what is kept", || {
            let library = client.library();
            workload
                .kept
                .iter()
                .all(|(name, image)| library.get(&format!("{folder}/{name}")) == Some(image))
        });
    }
    let strange: Vec<_> = images
        .keys()
        .filter(|image| {
            !workstations
                .iter()
                .any(|workstation| workstation.workload.ever_written.contains_key(image))
        })
        .collect();
    assert!(
        strange.is_empty(),
        "on the server, and never a photo: {strange:?}"
    );
}
