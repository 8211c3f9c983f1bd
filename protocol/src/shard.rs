//! Shard sizes: how many bytes go into one request (M8).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many bytes of an image go into one request. Cannot leave [`Self::MIN`]..=[`Self::MAX`],
/// because only [`Self::grown`], [`Self::shrunk`] and [`Self::toward`] change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardSize(u64);

impl ShardSize {
    /// 16 KiB: below this, headers and round trips cost more than the bytes.
    pub const MIN: Self = Self(16 << 10);
    /// 16 MiB: above this, one lost connection costs too much, and so does the memory for it.
    pub const MAX: Self = Self(16 << 20);

    /// Where a link of this kind starts, before anything was measured.
    pub const fn starting_on(link: LinkKind) -> Self {
        Self(match link {
            LinkKind::Cellular => 64 << 10,
            LinkKind::Wifi | LinkKind::Unknown => 512 << 10,
            LinkKind::Ethernet | LinkKind::Loopback => 4 << 20,
        })
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Twice as large, up to the largest.
    #[must_use]
    pub fn grown(self) -> Self {
        Self((self.0 * 2).min(Self::MAX.0))
    }

    /// Half as large, down to the smallest.
    #[must_use]
    pub fn shrunk(self) -> Self {
        Self((self.0 / 2).max(Self::MIN.0))
    }

    /// Toward `bytes`, by at most one doubling or halving: one odd measurement must not
    /// throw the size across the whole range.
    #[must_use]
    pub fn toward(self, bytes: u64) -> Self {
        Self(bytes.clamp(self.shrunk().0, self.grown().0))
    }
}

/// What the default route goes through. Decides only where shard sizes start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// A modem: expensive, lossy.
    Cellular,
    /// A wireless network.
    Wifi,
    /// A cable.
    Ethernet,
    /// The server is on this machine.
    Loopback,
    /// Anything else: a tunnel, no route yet.
    Unknown,
}

/// A word that names no kind of link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a kind of link is cellular, wifi, ethernet, loopback or unknown")]
pub struct LinkKindError;

impl LinkKind {
    const ALL: [Self; 5] = [
        Self::Cellular,
        Self::Wifi,
        Self::Ethernet,
        Self::Loopback,
        Self::Unknown,
    ];

    /// The kind as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cellular => "cellular",
            Self::Wifi => "wifi",
            Self::Ethernet => "ethernet",
            Self::Loopback => "loopback",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for LinkKind {
    type Err = LinkKindError;

    fn from_str(word: &str) -> Result<Self, LinkKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or(LinkKindError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_sequence_of_moves_leaves_the_bounds(moves in prop::collection::vec((0_u8..3, any::<u64>()), 0..100)) {
            let mut size = ShardSize::starting_on(LinkKind::Unknown);
            for (step, target) in moves {
                let before = size;
                size = match step { 0 => size.grown(), 1 => size.shrunk(), _ => size.toward(target) };
                prop_assert!((ShardSize::MIN..=ShardSize::MAX).contains(&size));
                prop_assert!(size.bytes() <= before.bytes() * 2 && size.bytes() * 2 >= before.bytes());
            }
        }
    }

    #[test]
    fn a_link_kind_has_one_word_for_people_and_wire() {
        for kind in LinkKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!("carrier pigeon".parse::<LinkKind>(), Err(LinkKindError));
    }
}
