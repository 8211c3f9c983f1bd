//! A random workload in a mount, and the state that it expects afterwards.
//!
//! A step that a kill interrupted has happened or not; [`Workload::resolve_unfinished`] finds out
//! which. A photo that was being written then is uncertain: complete or not, nothing was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use heirloom_protocol::Fingerprint;

use crate::photo_generator::PhotoGenerator;

/// The most photos to keep at a time; further ones are removed. Every round reads them all.
const KEPT_MAX: usize = 40;

/// A random workload in one folder of a mount, which nothing else uses.
#[derive(Debug)]
pub struct Workload {
    folder: PathBuf,
    generator: PhotoGenerator,
    random: fastrand::Rng,
    names: u64,
    /// The photo under each name, for calls that returned.
    pub kept: BTreeMap<String, Fingerprint>,
    /// Names that may have a file, complete or not.
    pub uncertain: BTreeSet<String>,
    /// Every image that was ever to be written, with its length.
    pub ever_written: BTreeMap<Fingerprint, u64>,
    /// Every image that was ever reported as backed up.
    pub reported: BTreeSet<Fingerprint>,
    unfinished: Option<Step>,
}

/// One operation.
#[derive(Clone, Debug)]
enum Step {
    /// Writes a new photo, or one in place of an old one, directly.
    Write {
        name: String,
        photo: Fingerprint,
    },
    /// Writes to a temporary name, then renames, like programs that avoid half-written files.
    Save {
        name: String,
        temporary: String,
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
    /// A workload in `folder` that has not begun.
    pub fn new(folder: PathBuf, seed: u64) -> Self {
        let (kept, uncertain) = (BTreeMap::new(), BTreeSet::new());
        let (ever_written, reported) = (BTreeMap::new(), BTreeSet::new());
        let (generator, random) = (PhotoGenerator::new(seed), fastrand::Rng::with_seed(seed));
        Self {
            folder,
            generator,
            random,
            names: 0,
            kept,
            uncertain,
            ever_written,
            reported,
            unfinished: None,
        }
    }

    /// Runs until `stop` is set or the mount dies.
    pub fn run_until(&mut self, stop: &AtomicBool) {
        while !stop.load(SeqCst) && self.step().is_ok() {
            self.check_one_state();
        }
    }

    /// Does one operation, and records it once it certainly happened.
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
            self.ever_written.insert(*photo, bytes as u64);
        }
        self.unfinished = Some(step.clone());
        self.apply(&step, &photo)?;
        // `close` may fail unnoticed; a mount that answers now was alive then.
        rustix::fs::statvfs(&self.folder)?;
        self.unfinished = None;
        self.record(step);
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
                temporary: format!("{old}.part"),
                name: old,
                photo,
            },
            6 => {
                let name = self.new_name();
                Step::Save {
                    temporary: format!("{name}.part"),
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

    fn apply(&self, step: &Step, photo: &[u8]) -> io::Result<()> {
        match step {
            Step::Write { name, .. } => write(&self.path(name), photo),
            Step::Save {
                name, temporary, ..
            } => {
                write(&self.path(temporary), photo)?;
                fs::rename(self.path(temporary), self.path(name))
            }
            Step::Rename { from, to } => fs::rename(self.path(from), self.path(to)),
            Step::Remove { name } => fs::remove_file(self.path(name)),
        }
    }

    fn record(&mut self, step: Step) {
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

    /// Reads the state of one photo, like a file manager, and records it if it is backed up.
    fn check_one_state(&mut self) {
        let Some(name) = self.any_kept() else { return };
        let mut state = [0_u8; 64];
        let said = rustix::fs::getxattr(self.path(&name), "user.heirloom.state", &mut state);
        if said.is_ok_and(|length| &state[..length] == b"backed_up") {
            self.reported.insert(self.kept[&name]);
        }
    }

    /// After a kill: finds out whether the interrupted step happened.
    pub fn resolve_unfinished(&mut self) {
        let Some(step) = self.unfinished.take() else {
            return;
        };
        match &step {
            Step::Write { name, .. } => {
                self.kept.remove(name);
                self.uncertain.insert(name.clone());
            }
            Step::Save {
                name,
                temporary,
                photo,
            } => {
                if self.fingerprint_at(name) == Some(*photo) {
                    self.record(step.clone());
                } else {
                    self.uncertain.insert(temporary.clone());
                }
            }
            Step::Rename { from, to } if self.fingerprint_at(from).is_none() && from != to => {
                assert_eq!(
                    self.fingerprint_at(to).as_ref(),
                    self.kept.get(from),
                    "{from} is neither here nor at {to}"
                );
                self.record(step.clone());
            }
            Step::Remove { name } if self.fingerprint_at(name).is_none() => {
                self.record(step.clone());
            }
            Step::Rename { .. } | Step::Remove { .. } => {}
        }
    }

    /// Asserts that every kept photo is in the mount, byte for byte.
    #[track_caller]
    pub fn assert_kept(&self) {
        for (name, photo) in &self.kept {
            assert_eq!(
                self.fingerprint_at(name),
                Some(*photo),
                "{name} in {} is what was closed",
                self.folder.display()
            );
        }
    }

    /// The fingerprint of the file under a name.
    pub fn fingerprint_at(&self, name: &str) -> Option<Fingerprint> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Some(Fingerprint::of(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("read {name}: {error}"),
        }
    }

    /// The path of a name.
    pub fn path(&self, name: &str) -> PathBuf {
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

/// Writes in pieces, so that a kill sometimes leaves half a photo.
fn write(path: &Path, photo: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    photo
        .chunks(64 << 10)
        .try_for_each(|piece| file.write_all(piece))
}
