//! A step: one operation on the file, and its effect on the model.

use fastrand::Rng;

/// The largest size of the file: some pages more than the kernel reads ahead.
pub(crate) const SIZE_MAX: usize = 400_000;
/// The most bytes that one step reads or writes.
const PIECE_MAX: usize = 70_000;

/// The descriptor that an operation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Reads and writes, through the page cache.
    Both,
    /// A second descriptor of that kind.
    Other,
    /// Write-only: bypasses the page cache.
    Writer,
    /// Read-only.
    Reader,
    /// The mapping, shared and kept for the whole round.
    Map,
}

/// Bytes to write: neighbours differ, and none is 0, so that no hole looks like data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    first: u8,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Read {
        via: Via,
        at: usize,
        count: usize,
    },
    Write {
        via: Via,
        at: usize,
        bytes: Bytes,
    },
    Append {
        bytes: Bytes,
    },
    Resize {
        via: Via,
        size: usize,
    },
    /// `truncate(2)`: by name.
    ResizeByName {
        size: usize,
    },
    /// Opens with `O_TRUNC`.
    Empty,
    /// Allocates space, which extends the file or not.
    Allocate {
        at: usize,
        count: usize,
        keep_size: bool,
    },
    Punch {
        at: usize,
        count: usize,
    },
    Zero {
        at: usize,
        count: usize,
    },
    Copy {
        from: usize,
        to: usize,
        count: usize,
    },
    Sync {
        via: Via,
    },
    /// `msync(2)`, after which the spool's file is compared.
    SyncMap,
    Reopen {
        via: Via,
    },
    /// Renames the file to another name and back.
    Rename,
}

use Via::{Both, Map, Other, Reader, Writer};

impl Bytes {
    fn random(random: &mut Rng, count: usize) -> Self {
        Self {
            first: random.u8(..),
            count,
        }
    }
    pub(crate) fn all(self) -> Vec<u8> {
        (1..=255_u8)
            .cycle()
            .skip(self.first.into())
            .take(self.count)
            .collect()
    }
}

impl Step {
    pub(crate) fn random(random: &mut Rng, size: usize) -> Self {
        let piece = |random: &mut Rng| {
            let at = near(random, size);
            (at, random.usize(1..=PIECE_MAX.min(SIZE_MAX - at)))
        };
        let (at, count) = piece(random);
        let via = |random: &mut Rng, choices: &[Via]| choices[random.usize(..choices.len())];
        match random.u8(..100) {
            0..=29 => Self::Read {
                via: via(random, &[Both, Other, Reader, Map]),
                at,
                count,
            },
            30..=54 => {
                let via = via(random, &[Both, Other, Writer, Writer, Map]);
                let count = if via == Map {
                    count.min(size.saturating_sub(at))
                } else {
                    count
                };
                Self::Write {
                    via,
                    at,
                    bytes: Bytes::random(random, count),
                }
            }
            55..=60 => {
                let count = count.min(SIZE_MAX - size);
                Self::Append {
                    bytes: Bytes::random(random, count),
                }
            }
            61..=66 => Self::Resize {
                via: via(random, &[Both, Writer]),
                size: at,
            },
            67..=68 => Self::ResizeByName { size: at },
            69 => Self::Empty,
            70..=74 => Self::Allocate {
                at,
                count,
                keep_size: random.bool(),
            },
            75..=80 => Self::Punch { at, count },
            81..=83 => Self::Zero { at, count },
            84..=89 => {
                // Source and target may not overlap (copy_file_range(2)).
                let (one, other) = (near(random, size), near(random, size));
                let count = count
                    .min(one.abs_diff(other))
                    .min(SIZE_MAX - one.max(other));
                Self::Copy {
                    from: one,
                    to: other,
                    count,
                }
            }
            90..=91 => Self::Sync {
                via: via(random, &[Both, Writer]),
            },
            92..=94 => Self::SyncMap,
            95..=98 => Self::Reopen {
                via: via(random, &[Both, Other, Writer, Reader, Map]),
            },
            _ => Self::Rename,
        }
    }

    /// The bytes that a read must return.
    pub(crate) fn shows(&self, model: &[u8]) -> Vec<u8> {
        match self {
            Self::Read { at, count, .. } => {
                model[(*at).min(model.len())..(at + count).min(model.len())].to_vec()
            }
            Self::SyncMap => model.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The effect on the file's bytes.
    pub(crate) fn change(&self, model: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes, .. } => put(model, *at, &bytes.all()),
            Self::Append { bytes } => model.extend(bytes.all()),
            Self::Resize { size, .. } | Self::ResizeByName { size } => model.resize(*size, 0),
            Self::Empty => model.clear(),
            Self::Allocate {
                at,
                count,
                keep_size: false,
            } => model.resize(model.len().max(at + count), 0),
            Self::Punch { at, count } | Self::Zero { at, count } => {
                let (from, to) = ((*at).min(model.len()), (at + count).min(model.len()));
                model[from..to].fill(0);
            }
            Self::Copy { from, to, count } => {
                let copied =
                    model[(*from).min(model.len())..(from + count).min(model.len())].to_vec();
                put(model, *to, &copied);
            }
            Self::Read { .. }
            | Self::Allocate {
                keep_size: true, ..
            }
            | Self::Sync { .. }
            | Self::SyncMap
            | Self::Reopen { .. }
            | Self::Rename => {}
        }
    }
}

fn put(model: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if !bytes.is_empty() {
        model.resize(model.len().max(at + bytes.len()), 0);
        model[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// An offset: mostly in the file, sometimes beyond its end, often at a page boundary, where bugs
/// are.
fn near(random: &mut Rng, size: usize) -> usize {
    let at = if random.u8(..4) == 0 {
        random.usize(..SIZE_MAX)
    } else {
        random.usize(..=size.min(SIZE_MAX - 1))
    };
    let at = match random.u8(..4) {
        0 => at & !4095,
        1 => (at & !4095).saturating_sub(random.usize(..3)),
        _ => at,
    };
    at.min(SIZE_MAX - 1)
}
