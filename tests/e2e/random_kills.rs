//! Several people with several devices, and kills of any process at any moment.
//!
//! `scripts/torture` goes many rounds; `HEIRLOOM_SEED` and `HEIRLOOM_ROUNDS` repeat some.

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

/// How many kills `scripts/test` tries.
const ROUNDS: usize = 20;

/// Each link in bytes per second: slow enough that most kills find something under way.
const SLOW: u64 = 8 << 20;

/// How long everybody works before a kill, at most, in milliseconds.
const WORK_MS_MAX: u64 = 1_200;

/// One device, the person before it and the state behind it.
struct Workstation {
    owner: User,
    device: Device,
    link: Link,
    workload: Workload,
    /// What the server had of this workload's images when this was last asked.
    had: BTreeMap<Fingerprint, RangeSet>,
}

/// Who dies.
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
        // A folder for each device: two that work on one name are another story.
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

    /// Nothing was sent since the last look that the server had then.
    #[track_caller]
    fn assert_nothing_sent_again(&self, when: &str) {
        assert_eq!(
            sent_again(&self.link, &self.had),
            0,
            "{when}: sent although the server had it"
        );
    }

    fn look_at_server(&mut self, installation: &Installation) {
        let images: Vec<_> = self
            .workload
            .existed
            .iter()
            .map(|(image, bytes)| (*image, *bytes))
            .collect();
        let client = installation.client(&self.owner);
        self.had = images
            .chunks(1_000)
            .flat_map(|images| client.arrived(images))
            .collect();
    }

    /// Whatever was being written at a kill is known for what it is; then it is removed.
    fn clear_doubts(&mut self) {
        for name in std::mem::take(&mut self.workload.doubtful) {
            let Some(image) = self.workload.stands(&name) else {
                continue;
            };
            let path = format!(
                "{}/{name}",
                self.workload
                    .at("")
                    .file_name()
                    .expect("a folder")
                    .to_str()
                    .expect("plain")
            );
            let state = || self.device.attribute(&path, "state");
            eventually(BACKED_UP_WITHIN, "what was torn is looked at", || {
                !["pending", "uploading"].contains(&state().as_str())
            });
            let whole = self.workload.existed.contains_key(&image);
            assert!(
                whole || ["failed", "local"].contains(&state().as_str()),
                "{path} is torn, and says {}",
                state()
            );
            fs::remove_file(self.workload.at(&name)).expect("unlink");
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
            workstation.workload.settle();
            workstation.workload.is_true();
        }
    }
    for workstation in &mut workstations {
        workstation.link.full_speed();
        workstation.clear_doubts();
        workstation.device.wait();
        workstation.workload.is_true();
    }
    all_is_kept(&installation, &workstations);
    let images: usize = workstations
        .iter()
        .map(|workstation| workstation.workload.existed.len())
        .sum();
    let reported: usize = workstations
        .iter()
        .map(|workstation| workstation.workload.reported.len())
        .sum();
    println!("{rounds} rounds, {images} photos, {reported} seen backed up");
}

/// Everybody works for some time, then the victims die and come back.
fn kill(
    installation: &mut Installation,
    workstations: &mut [Workstation],
    victim: Victim,
    after: Duration,
    round: usize,
) {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let enough = &enough;
        for (number, workstation) in workstations.iter_mut().enumerate() {
            let (workload, device) = (&mut workstation.workload, &mut workstation.device);
            scope.spawn(move || workload.work(enough));
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
        enough.store(true, SeqCst);
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
        workstation.look_at_server(installation);
        workstation.link.reconnect();
        if victim.includes(number) {
            workstation.device.mount();
        }
    }
}

/// What stands somewhere or was ever said to be backed up is on the server, and nothing is there
/// that never was a photo.
#[track_caller]
fn all_is_kept(installation: &Installation, workstations: &[Workstation]) {
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
            .at("")
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
                .any(|workstation| workstation.workload.existed.contains_key(image))
        })
        .collect();
    assert!(
        strange.is_empty(),
        "on the server, and never a photo: {strange:?}"
    );
}
