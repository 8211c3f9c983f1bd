//! Shard sizes: how many bytes go into one upload request. A shard is a range of an image's bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The size of a shard in bytes, always within [`Self::MIN`]..=[`Self::MAX`]: only [`Self::grown`],
/// [`Self::shrunk`] and [`Self::toward`] change it.
///
/// ```
/// use heirloom_protocol::{LinkKind, ShardSize};
///
/// let size = ShardSize::initial(LinkKind::Wifi);
/// assert_eq!(size.bytes(), 512 << 10);
/// assert_eq!(size.grown().bytes(), 1 << 20);
/// assert_eq!(size.toward(u64::MAX), size.grown());
/// assert_eq!(ShardSize::MAX.grown(), ShardSize::MAX);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardSize(u64);

impl ShardSize {
    /// 16 KiB. Below that, headers and round trips cost more than the bytes.
    pub const MIN: Self = Self(16 << 10);
    /// 16 MiB. Above that, a lost connection costs too much, and so does the memory for a shard.
    pub const MAX: Self = Self(16 << 20);

    /// The size to start with on a link of this kind, before anything was measured.
    pub const fn initial(link: LinkKind) -> Self {
        Self(match link {
            LinkKind::Cellular => 64 << 10,
            LinkKind::Wifi | LinkKind::Unknown => 512 << 10,
            LinkKind::Ethernet | LinkKind::Loopback => 4 << 20,
        })
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Twice this size, at most [`Self::MAX`].
    #[must_use]
    pub fn grown(self) -> Self {
        Self((self.0 * 2).min(Self::MAX.0))
    }

    /// Half this size, at least [`Self::MIN`].
    #[must_use]
    pub fn shrunk(self) -> Self {
        Self((self.0 / 2).max(Self::MIN.0))
    }

    /// A step toward `bytes`, by at most one doubling or halving, so that one odd measurement
    /// cannot move the size across its whole range.
    #[must_use]
    pub fn toward(self, bytes: u64) -> Self {
        Self(bytes.clamp(self.shrunk().0, self.grown().0))
    }
}

/// The kind of network that the default route uses. It decides only the initial shard size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// A mobile network: expensive and lossy.
    Cellular,
    /// A wireless local network.
    Wifi,
    /// A wired network.
    Ethernet,
    /// The server is on this machine.
    Loopback,
    /// Anything else, such as a tunnel, or no route.
    Unknown,
}

/// A text that is not the name of a link kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown link kind: use cellular, wifi, ethernet, loopback or unknown")]
pub struct LinkKindError;

impl LinkKind {
    const ALL: [Self; 5] = [
        Self::Cellular,
        Self::Wifi,
        Self::Ethernet,
        Self::Loopback,
        Self::Unknown,
    ];

    /// The name of the kind, as in messages and options.
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
        fn no_sequence_of_steps_leaves_the_bounds(
            steps in prop::collection::vec((0_u8..3, any::<u64>()), 0..100),
        ) {
            let mut size = ShardSize::initial(LinkKind::Unknown);
            for (step, target) in steps {
                let before = size;
                size = match step {
                    0 => size.grown(),
                    1 => size.shrunk(),
                    _ => size.toward(target),
                };
                prop_assert!((ShardSize::MIN..=ShardSize::MAX).contains(&size));
                prop_assert!(size.bytes() <= before.bytes() * 2);
                prop_assert!(size.bytes() * 2 >= before.bytes());
            }
        }
    }

    #[test]
    fn a_link_kind_has_the_same_name_for_people_and_on_the_wire() {
        for kind in LinkKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!("carrier pigeon".parse::<LinkKind>(), Err(LinkKindError));
    }
}
