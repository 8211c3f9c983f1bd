//! Somebody who works in a mount at random, and *the workload* of what they did: what must be there
//! afterwards.
//!
//! A step that was cut short by a kill has happened or not; the workload settles which by looking. A
//! photo that was being written then is *in doubt*: whole or not, nobody promised anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use heirloom_protocol::Fingerprint;

use crate::photo_generator::PhotoGenerator;

/// Photos that one person keeps at a time, at most; more are removed. Every round reads them all.
const KEPT_MAX: usize = 40;

/// What somebody did in one folder of a mount, that nobody else works in.
#[derive(Debug)]
pub struct Workload {
    folder: PathBuf,
    generator: PhotoGenerator,
    random: fastrand::Rng,
    names: u64,
    /// What stands under each name, by the word of a call that returned.
    pub kept: BTreeMap<String, Fingerprint>,
    /// Names under which something may stand, whole or not.
    pub doubtful: BTreeSet<String>,
    /// Every image that ever was meant to stand somewhere, with its length.
    pub existed: BTreeMap<Fingerprint, u64>,
    /// Every image that was ever reported to be backed up.
    pub reported: BTreeSet<Fingerprint>,
    unfinished: Option<Step>,
}

/// One thing that a person does.
#[derive(Clone, Debug)]
enum Step {
    /// A new photo, or a new one in the place of an old one, written where it stands.
    Write {
        name: String,
        photo: Fingerprint,
    },
    /// The same as programs do it that want no half photo: written aside, then renamed.
    Save {
        name: String,
        aside: String,
        photo: Fingerprint,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
}

impl Workload {
    /// An empty workload of what happens in `folder`.
    pub fn new(folder: PathBuf, seed: u64) -> Self {
        let (kept, doubtful) = (BTreeMap::new(), BTreeSet::new());
        let (existed, reported) = (BTreeMap::new(), BTreeSet::new());
        let (generator, random) = (PhotoGenerator::new(seed), fastrand::Rng::with_seed(seed));
        Self {
            folder,
            generator,
            random,
            names: 0,
            kept,
            doubtful,
            existed,
            reported,
            unfinished: None,
        }
    }

    /// Works until somebody says enough or the mount dies under it.
    pub fn work(&mut self, enough: &AtomicBool) {
        while !enough.load(SeqCst) && self.step().is_ok() {
            self.ask();
        }
    }

    /// Does one thing, and notes that it is done once that is certain.
    fn step(&mut self) -> io::Result<()> {
        let photo_bytes = if self.random.u8(..16) == 0 {
            1_000_000..6_000_000
        } else {
            10_000..300_000
        };
        let bytes = self.random.usize(photo_bytes);
        let photo = self.generator.generate(bytes);
        let step = self.choose(Fingerprint::of(&photo));
        if let Step::Write { photo, .. } | Step::Save { photo, .. } = &step {
            self.existed.insert(*photo, bytes as u64);
        }
        self.unfinished = Some(step.clone());
        self.take(&step, &photo)?;
        // `close` of a file may fail unheard; a mount that answers now was alive then.
        rustix::fs::statvfs(&self.folder)?;
        self.unfinished = None;
        self.note(step);
        Ok(())
    }

    fn choose(&mut self, photo: Fingerprint) -> Step {
        let Some(old) = self.any_kept() else {
            return Step::Write {
                name: self.new_name(),
                photo,
            };
        };
        if self.kept.len() >= KEPT_MAX {
            return Step::Remove { name: old };
        }
        match self.random.u8(..10) {
            0..4 => Step::Write {
                name: self.new_name(),
                photo,
            },
            4 => Step::Write { name: old, photo },
            5 => Step::Save {
                aside: format!("{old}.part"),
                name: old,
                photo,
            },
            6 => {
                let name = self.new_name();
                Step::Save {
                    aside: format!("{name}.part"),
                    name,
                    photo,
                }
            }
            7 => Step::Rename {
                from: old,
                to: self.new_name(),
            },
            8 => Step::Rename {
                from: old,
                to: self.any_kept().expect("there is one"),
            },
            _ => Step::Remove { name: old },
        }
    }

    fn take(&self, step: &Step, photo: &[u8]) -> io::Result<()> {
        match step {
            Step::Write { name, .. } => write(&self.at(name), photo),
            Step::Save { name, aside, .. } => {
                write(&self.at(aside), photo)?;
                fs::rename(self.at(aside), self.at(name))
            }
            Step::Rename { from, to } => fs::rename(self.at(from), self.at(to)),
            Step::Remove { name } => fs::remove_file(self.at(name)),
        }
    }

    fn note(&mut self, step: Step) {
        match step {
            Step::Write { name, photo } | Step::Save { name, photo, .. } => {
                self.kept.insert(name, photo);
            }
            Step::Rename { from, to } => {
                let photo = self.kept.remove(&from).expect("it was kept");
                self.kept.insert(to, photo);
            }
            Step::Remove { name } => {
                self.kept.remove(&name);
            }
        }
    }

    /// Asks after one photo, as a file manager does, and remembers it if it is said to be backed
    /// up.
    fn ask(&mut self) {
        let Some(name) = self.any_kept() else { return };
        let mut state = [0_u8; 64];
        let said = rustix::fs::getxattr(self.at(&name), "user.heirloom.state", &mut state);
        if said.is_ok_and(|length| &state[..length] == b"backed_up") {
            self.reported.insert(self.kept[&name]);
        }
    }

    /// After a kill: looks which of the two it is for the step that was under way.
    pub fn settle(&mut self) {
        let Some(step) = self.unfinished.take() else {
            return;
        };
        match &step {
            Step::Write { name, .. } => {
                self.kept.remove(name);
                self.doubtful.insert(name.clone());
            }
            Step::Save { name, aside, photo } => {
                if self.stands(name) == Some(*photo) {
                    self.note(step.clone());
                } else {
                    self.doubtful.insert(aside.clone());
                }
            }
            Step::Rename { from, to } if self.stands(from).is_none() && from != to => {
                assert_eq!(
                    self.stands(to).as_ref(),
                    self.kept.get(from),
                    "{from} is neither here nor at {to}"
                );
                self.note(step.clone());
            }
            Step::Remove { name } if self.stands(name).is_none() => self.note(step.clone()),
            Step::Rename { .. } | Step::Remove { .. } => {}
        }
    }

    /// Every photo that is kept is in the mount, byte for byte.
    #[track_caller]
    pub fn is_true(&self) {
        for (name, photo) in &self.kept {
            assert_eq!(
                self.stands(name),
                Some(*photo),
                "{name} in {} is what was closed",
                self.folder.display()
            );
        }
    }

    /// What stands under a name.
    pub fn stands(&self, name: &str) -> Option<Fingerprint> {
        match fs::read(self.at(name)) {
            Ok(bytes) => Some(Fingerprint::of(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("read {name}: {error}"),
        }
    }

    /// Where a name is.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn any_kept(&mut self) -> Option<String> {
        let count = self.kept.len();
        (count > 0)
            .then(|| self.random.usize(..count))
            .and_then(|number| self.kept.keys().nth(number).cloned())
    }

    fn new_name(&mut self) -> String {
        self.names += 1;
        format!("IMG_{:05}.jpg", self.names)
    }
}

/// In pieces, so that a kill finds half a photo now and then.
fn write(path: &Path, photo: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    photo
        .chunks(64 << 10)
        .try_for_each(|piece| file.write_all(piece))
}
