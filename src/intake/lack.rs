//! *Lack*: what is missing of a photo that a crash or a power cut tore, in words for its owner.

use std::fmt;
use std::fs::File;
use std::io;

use super::ending::{Ending, ending};
use super::kind::is_picture;
use super::look::read_head;
use crate::spool::WriteState;

/// Why a file is not taken for a whole photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Its mark says so.
    Marked(WriteState),
    /// Its own bytes do.
    End,
    /// It was promised with more bytes, and these do not say that they are all.
    Shorter,
}

impl Lack {
    const BY_BYTES: [Self; 2] = [Self::End, Self::Shorter];

    /// What is missing of a file of this size without a mark; `or_else`, if its bytes do not tell.
    /// What is no picture may be of any length, but not lose all of it.
    pub(super) fn of(file: &File, size: u64, or_else: Option<Self>) -> io::Result<Option<Self>> {
        if size > 0 && !is_picture(&read_head(file)?) {
            return Ok(None);
        }
        Ok(match ending(file, size)? {
            Ending::There => None,
            Ending::Missing => Some(Self::End),
            Ending::Unknown => or_else,
        })
    }

    /// The lack that was written down as these words, if it was one without a mark.
    pub(super) fn said(words: &str) -> Option<Self> {
        Self::BY_BYTES
            .into_iter()
            .find(|lack| lack.to_string() == words)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marked(soundness) => soundness.fmt(formatter),
            Self::End => {
                formatter.write_str("incomplete: its end is missing; copy it again, or `heirloom retry` it as it is")
            }
            Self::Shorter => formatter
                .write_str("incomplete: it is shorter than it was; copy it again, or `heirloom retry` it as it is"),
        }
    }
}
