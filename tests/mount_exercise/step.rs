//! A *step*: one thing done to the file, and what it means for the model.

use fastrand::Rng;

/// The file never grows beyond this: some pages more than the kernel reads ahead.
pub(crate) const SIZE_MAX: usize = 400_000;
/// The most that one step reads or writes.
const PIECE_MAX: usize = 70_000;

/// Through which of the open descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// Reads and writes: uses the page cache.
    Both,
    /// Another of these.
    Other,
    /// Writes only: goes past the page cache.
    Writer,
    /// Reads only.
    Reader,
    /// The mapping, shared and kept all the time.
    Map,
}

/// Bytes to write: all different from their neighbours, and none of them 0, so that no hole looks
/// like data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    first: u8,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Read {
        through: Through,
        at: usize,
        count: usize,
    },
    Write {
        through: Through,
        at: usize,
        bytes: Bytes,
    },
    Append {
        bytes: Bytes,
    },
    Resize {
        through: Through,
        size: usize,
    },
    /// `truncate(2)`: by name.
    ResizeByName {
        size: usize,
    },
    /// Opening with `O_TRUNC`.
    Empty,
    /// Sets space aside, which makes the file longer, or not.
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
        through: Through,
    },
    /// `msync(2)`, after which the spool's file is compared.
    SyncMap,
    Reopen {
        through: Through,
    },
    /// To another name and back.
    Rename,
}

use Through::{Both, Map, Other, Reader, Writer};

impl Bytes {
    fn random(chance: &mut Rng, count: usize) -> Self {
        Self {
            first: chance.u8(..),
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
    pub(crate) fn random(chance: &mut Rng, size: usize) -> Self {
        let piece = |chance: &mut Rng| {
            let at = near(chance, size);
            (at, chance.usize(1..=PIECE_MAX.min(SIZE_MAX - at)))
        };
        let (at, count) = piece(chance);
        let through =
            |chance: &mut Rng, choices: &[Through]| choices[chance.usize(..choices.len())];
        match chance.u8(..100) {
            0..=29 => Self::Read {
                through: through(chance, &[Both, Other, Reader, Map]),
                at,
                count,
            },
            30..=54 => {
                let through = through(chance, &[Both, Other, Writer, Writer, Map]);
                let count = if through == Map {
                    count.min(size.saturating_sub(at))
                } else {
                    count
                };
                Self::Write {
                    through,
                    at,
                    bytes: Bytes::random(chance, count),
                }
            }
            55..=60 => {
                let count = count.min(SIZE_MAX - size);
                Self::Append {
                    bytes: Bytes::random(chance, count),
                }
            }
            61..=66 => Self::Resize {
                through: through(chance, &[Both, Writer]),
                size: at,
            },
            67..=68 => Self::ResizeByName { size: at },
            69 => Self::Empty,
            70..=74 => Self::Allocate {
                at,
                count,
                keep_size: chance.bool(),
            },
            75..=80 => Self::Punch { at, count },
            81..=83 => Self::Zero { at, count },
            84..=89 => {
                // From and to may not overlap (copy_file_range(2)).
                let (one, other) = (near(chance, size), near(chance, size));
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
                through: through(chance, &[Both, Writer]),
            },
            92..=94 => Self::SyncMap,
            95..=98 => Self::Reopen {
                through: through(chance, &[Both, Other, Writer, Reader, Map]),
            },
            _ => Self::Rename,
        }
    }

    /// What a read must show.
    pub(crate) fn shows(&self, model: &[u8]) -> Vec<u8> {
        match self {
            Self::Read { at, count, .. } => {
                model[(*at).min(model.len())..(at + count).min(model.len())].to_vec()
            }
            Self::SyncMap => model.to_vec(),
            _ => Vec::new(),
        }
    }

    /// What it does to the file's bytes.
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

/// A position: mostly in the file, sometimes beyond its end, often at the edge of a page, where
/// mistakes live.
fn near(chance: &mut Rng, size: usize) -> usize {
    let at = if chance.u8(..4) == 0 {
        chance.usize(..SIZE_MAX)
    } else {
        chance.usize(..=size.min(SIZE_MAX - 1))
    };
    let at = match chance.u8(..4) {
        0 => at & !4095,
        1 => (at & !4095).saturating_sub(chance.usize(..3)),
        _ => at,
    };
    at.min(SIZE_MAX - 1)
}
