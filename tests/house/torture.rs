//! Several people with several devices, and kills of any process at any moment.
//!
//! `scripts/torture` goes many rounds; `HEIRLOOM_SEED` and `HEIRLOOM_ROUNDS` repeat some.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use heirloom_protocol::{Fingerprint, RangeSet};

use crate::chance::{rounds, seeded};
use crate::device::Device;
use crate::diary::Diary;
use crate::house::{House, Person};
use crate::kills::sent_again;
use crate::link::Link;
use crate::waiting::{BACKED_UP_WITHIN, SOON, eventually};

/// How many kills `scripts/test` tries.
const ROUNDS: usize = 20;

/// Each link in bytes per second: slow enough that most kills find something under way.
const SLOW: u64 = 8 << 20;

/// How long everybody works before a kill, at most, in milliseconds.
const WORK_MS_MAX: u64 = 1_200;

/// One device, the person before it and the cable behind it.
struct Desk {
    owner: Person,
    device: Device,
    link: Link,
    diary: Diary,
    /// What the server had of this diary's images when this was last asked.
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
    fn any(chance: &mut fastrand::Rng, desks: usize) -> Self {
        let client = chance.usize(..desks);
        match chance.u8(..8) {
            0..3 => Self::Client(client),
            3..5 => Self::Server,
            5..7 => Self::Both(client),
            _ => Self::Everybody,
        }
    }

    fn includes_the_server(self) -> bool {
        !matches!(self, Self::Client(_))
    }

    fn includes(self, desk: usize) -> bool {
        match self {
            Self::Client(client) | Self::Both(client) => client == desk,
            Self::Everybody => true,
            Self::Server => false,
        }
    }
}

impl Desk {
    fn new(house: &House, owner: &Person, name: &str, seed: u64) -> Self {
        let link = house.link();
        link.slow_down_to(SLOW);
        let mut device = house.linked(owner, name, &link);
        device.mount();
        // A folder for each device: two that work on one name are another story.
        let folder = device.path(name);
        fs::create_dir(&folder).expect("mkdir");
        Self {
            owner: owner.clone(),
            device,
            link,
            diary: Diary::new(folder, seed),
            had: BTreeMap::new(),
        }
    }

    /// Nothing was sent since the last look that the server had then.
    #[track_caller]
    fn sends_nothing_again(&self, when: &str) {
        assert_eq!(
            sent_again(&self.link, &self.had),
            0,
            "{when}: sent although the server had it"
        );
    }

    fn look_at_server(&mut self, house: &House) {
        let images: Vec<_> = self
            .diary
            .existed
            .iter()
            .map(|(image, bytes)| (*image, *bytes))
            .collect();
        let asker = house.ask(&self.owner);
        self.had = images
            .chunks(1_000)
            .flat_map(|images| asker.arrived(images))
            .collect();
    }

    /// Whatever was being written at a kill is known for what it is; then it is removed.
    fn clear_doubts(&mut self) {
        for name in std::mem::take(&mut self.diary.doubtful) {
            let Some(image) = self.diary.stands(&name) else {
                continue;
            };
            let path = format!(
                "{}/{name}",
                self.diary
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
            let whole = self.diary.existed.contains_key(&image);
            assert!(
                whole || ["failed", "local"].contains(&state().as_str()),
                "{path} is torn, and says {}",
                state()
            );
            fs::remove_file(self.diary.at(&name)).expect("unlink");
        }
    }
}

#[test]
fn no_promise_is_lost_whoever_is_killed() {
    let mut chance = seeded();
    let mut house = House::new();
    let (anna, bert) = (house.person("anna"), house.person("bert"));
    let people = [(&anna, "laptop"), (&anna, "phone"), (&bert, "camera")];
    let mut desks: Vec<_> = people
        .map(|(owner, name)| Desk::new(&house, owner, name, chance.u64(..)))
        .into();
    let rounds = rounds(ROUNDS);
    for round in 1..=rounds {
        let victim = Victim::any(&mut chance, desks.len());
        kill(
            &mut house,
            &mut desks,
            victim,
            Duration::from_millis(chance.u64(..WORK_MS_MAX)),
            round,
        );
        for desk in &mut desks {
            desk.diary.settle();
            desk.diary.is_true();
        }
    }
    for desk in &mut desks {
        desk.link.full_speed();
        desk.clear_doubts();
        desk.device.wait();
        desk.diary.is_true();
    }
    all_is_kept(&house, &desks);
    let images: usize = desks.iter().map(|desk| desk.diary.existed.len()).sum();
    let reported: usize = desks.iter().map(|desk| desk.diary.reported.len()).sum();
    println!("{rounds} rounds, {images} photos, {reported} seen backed up");
}

/// Everybody works for some time, then the victims die and come back.
fn kill(house: &mut House, desks: &mut [Desk], victim: Victim, after: Duration, round: usize) {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let enough = &enough;
        for (number, desk) in desks.iter_mut().enumerate() {
            let (diary, device) = (&mut desk.diary, &mut desk.device);
            scope.spawn(move || diary.work(enough));
            if victim.includes(number) {
                scope.spawn(move || {
                    thread::sleep(after);
                    device.kill();
                });
            }
        }
        thread::sleep(after);
        if victim.includes_the_server() {
            house.server.kill();
        }
        enough.store(true, SeqCst);
    });
    for desk in desks.iter() {
        desk.link.cut();
    }
    for desk in desks.iter() {
        desk.sends_nothing_again(&format!("round {round}, {victim:?}"));
    }
    if victim.includes_the_server() {
        house.server.start_again();
    }
    for (number, desk) in desks.iter_mut().enumerate() {
        desk.look_at_server(house);
        desk.link.mend();
        if victim.includes(number) {
            desk.device.mount();
        }
    }
}

/// What stands somewhere or was ever said to be backed up is on the server, and nothing is there
/// that never was a photo.
#[track_caller]
fn all_is_kept(house: &House, desks: &[Desk]) {
    let images = house.server.images();
    for desk in desks {
        let diary = &desk.diary;
        let missing: Vec<_> = diary
            .kept
            .iter()
            .filter(|(_, image)| !images.contains_key(image))
            .collect();
        assert!(missing.is_empty(), "not on the server: {missing:?}");
        let missing: Vec<_> = diary
            .reported
            .iter()
            .filter(|image| !images.contains_key(image))
            .collect();
        assert!(
            missing.is_empty(),
            "said to be backed up, and not on the server: {missing:?}"
        );
        let folder = diary
            .at("")
            .file_name()
            .expect("a folder")
            .to_str()
            .expect("plain")
            .to_owned();
        let asker = house.ask(&desk.owner);
        eventually(SOON, "the library lists what is kept", || {
            let library = asker.library();
            diary
                .kept
                .iter()
                .all(|(name, image)| library.get(&format!("{folder}/{name}")) == Some(image))
        });
    }
    let strange: Vec<_> = images
        .keys()
        .filter(|image| {
            !desks
                .iter()
                .any(|desk| desk.diary.existed.contains_key(image))
        })
        .collect();
    assert!(
        strange.is_empty(),
        "on the server, and never a photo: {strange:?}"
    );
}
