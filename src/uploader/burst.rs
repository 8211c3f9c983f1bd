//! A burst: files that come in together are asked about together.
//!
//! A copy of many photos becomes promises a few at a time. Sending the first of them while the others are still being
//! written makes both slow: every shard's and every receipt's sync drags what the copy has just written along. So
//! an idle line lets a burst come together first: the copy is done sooner, and one check asks about all of it. An import
//! that goes on for longer than [`LONGEST`] is sent while it goes on.

use std::time::Duration;

use tokio::time::Instant;

/// A burst is over when nothing was added to it for this long: intake promises a batch several times in it.
const LULL: Duration = Duration::from_millis(200);
/// And at the latest so long after it began.
const LONGEST: Duration = Duration::from_secs(2);

/// The burst that is coming together, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Burst {
    began_and_last: Option<(Instant, Instant)>,
}

impl Burst {
    /// Something came in.
    pub(super) fn grow(&mut self, now: Instant) {
        let began = self.began_and_last.map_or(now, |(began, _)| began);
        self.began_and_last = Some((began, now));
    }

    /// When it will be over, if nothing more comes in; nothing if there is none.
    pub(super) fn over_at(&self) -> Option<Instant> {
        self.began_and_last.map(|(began, last)| (last + LULL).min(began + LONGEST))
    }

    /// It is being sent.
    pub(super) fn end(&mut self) {
        self.began_and_last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_after_a_lull_and_never_lasts_longer_than_its_limit() {
        let (start, mut burst) = (Instant::now(), Burst::default());
        assert_eq!(burst.over_at(), None);
        burst.grow(start);
        assert_eq!(burst.over_at(), Some(start + LULL));
        burst.grow(start + LULL / 2);
        assert_eq!(burst.over_at(), Some(start + LULL / 2 + LULL));
        (1..100).for_each(|step| burst.grow(start + LULL / 2 * step));
        assert_eq!(burst.over_at(), Some(start + LONGEST));
        burst.end();
        assert_eq!(burst.over_at(), None);
    }
}
