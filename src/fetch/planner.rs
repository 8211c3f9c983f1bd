//! Decides which range of a file is requested next. Pure code, so that it can be tested completely.
//!
//! Ranges that a reader waits for come first. Reading within the head fetches the head and nothing
//! more. Reading past the head fetches the whole file, starting where the read was: one program in
//! a hundred wanted less, and the other ninety-nine need not wait again.

use heirloom_protocol::{ByteRange, RangeSet};

/// Which ranges of a file are here, in flight, and wanted.
#[derive(Debug)]
pub(super) struct RangePlanner {
    size: u64,
    head_bytes: u64,
    request_bytes: u64,
    held: RangeSet,
    in_flight: RangeSet,
    wanted: Vec<ByteRange>,
    /// Where the last read past the head began; nothing if the rest of the file is not to be read
    /// ahead.
    read_ahead_from: Option<u64>,
}

/// Whether ranges may be requested that no reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadAhead {
    /// No: the file is not open any more.
    Off,
    /// Yes.
    Allowed,
}

impl RangePlanner {
    pub(super) fn new(size: u64, held: RangeSet, head_bytes: u64, request_bytes: u64) -> Self {
        Self {
            size,
            head_bytes,
            request_bytes,
            held,
            in_flight: RangeSet::new(),
            wanted: Vec::new(),
            read_ahead_from: None,
        }
    }

    /// The ranges that are here.
    pub(super) const fn held(&self) -> &RangeSet {
        &self.held
    }

    /// Whether the whole file is here.
    pub(super) fn is_complete(&self) -> bool {
        self.held.covers(self.size)
    }

    /// Whether these bytes are here, up to the end of the file.
    pub(super) fn has(&self, range: ByteRange) -> bool {
        ByteRange::new(range.start(), range.end().min(self.size))
            .map_or(true, |range| self.held.contains(range))
    }

    /// A reader begins to wait for these bytes.
    pub(super) fn add_wanted(&mut self, range: ByteRange) {
        self.wanted.push(range);
        if range.end() > self.head_bytes {
            self.read_ahead_from = Some(range.start());
        }
    }

    /// A reader that waited for these bytes has stopped waiting.
    pub(super) fn cancel(&mut self, range: ByteRange) {
        if let Some(index) = self.wanted.iter().position(|wanted| *wanted == range) {
            self.wanted.remove(index);
        }
    }

    /// Requests only wanted ranges until the next read past the head.
    pub(super) fn stop_read_ahead(&mut self) {
        self.read_ahead_from = None;
    }

    /// The next range to request, in flight from now on.
    pub(super) fn next(&mut self, read_ahead: ReadAhead) -> Option<ByteRange> {
        let mut taken = self.held.clone();
        self.in_flight.iter().for_each(|range| taken.insert(range));
        let missing = taken.missing(self.size);
        let wanted = self
            .wanted
            .iter()
            .find_map(|wanted| self.next_wanted(&missing, *wanted));
        let range = wanted.or_else(|| match read_ahead {
            ReadAhead::Off => None,
            ReadAhead::Allowed => self.next_ahead(&missing),
        })?;
        self.in_flight.insert(range);
        Some(range)
    }

    fn next_wanted(&self, missing: &RangeSet, wanted: ByteRange) -> Option<ByteRange> {
        let hole = missing
            .iter()
            .find(|hole| hole.end() > wanted.start() && hole.start() < wanted.end())?;
        let start = hole.start().max(wanted.start());
        if wanted.end() <= self.head_bytes {
            // The whole head at once: a program that reads the first bytes reads the next ones too.
            return ByteRange::new(hole.start(), hole.end().min(self.head_bytes)).ok();
        }
        self.request_at(hole, start)
    }

    fn next_ahead(&self, missing: &RangeSet) -> Option<ByteRange> {
        let from = self.read_ahead_from?;
        match missing.iter().find(|hole| hole.end() > from) {
            Some(hole) => self.request_at(hole, hole.start().max(from)),
            None => missing
                .iter()
                .next()
                .and_then(|hole| self.request_at(hole, hole.start())),
        }
    }

    /// Ends at the next multiple of the request size, so that the requests of several readers leave
    /// no small gaps between them.
    fn request_at(&self, hole: ByteRange, start: u64) -> Option<ByteRange> {
        let end = (start / self.request_bytes + 1) * self.request_bytes;
        ByteRange::new(start, end.min(hole.end())).ok()
    }

    /// A range is here.
    pub(super) fn arrived(&mut self, range: ByteRange) {
        self.in_flight.remove(range);
        self.held.insert(range);
    }

    /// A request failed; its range may be requested again.
    pub(super) fn failed(&mut self, range: ByteRange) {
        self.in_flight.remove(range);
    }

    /// None of the bytes here can be trusted: all are missing again.
    pub(super) fn invalidate(&mut self) {
        self.held = RangeSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HEAD: u64 = 64 << 10;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    fn planner(size: u64) -> RangePlanner {
        RangePlanner::new(size, RangeSet::new(), HEAD, MIB)
    }

    #[test]
    fn reading_the_head_fetches_the_head_and_nothing_more() {
        let mut planner = planner(10 * MIB);
        planner.add_wanted(range(0, 4096));
        planner.add_wanted(range(8192, 16384));
        assert_eq!(planner.next(ReadAhead::Allowed), Some(range(0, HEAD)));
        assert_eq!(planner.next(ReadAhead::Allowed), None);
    }

    #[test]
    fn reading_past_the_head_fetches_the_whole_file_from_there() {
        let mut planner = planner(4 * MIB + 5);
        planner.add_wanted(range(2 * MIB + 4096, 2 * MIB + 8192));
        let mut requested = Vec::new();
        while let Some(range) = planner.next(ReadAhead::Allowed) {
            requested.push(range);
            planner.arrived(range);
        }
        let expected = [
            range(2 * MIB + 4096, 3 * MIB),
            range(3 * MIB, 4 * MIB),
            range(4 * MIB, 4 * MIB + 5),
            range(0, MIB),
            range(MIB, 2 * MIB),
            range(2 * MIB, 2 * MIB + 4096),
        ];
        assert_eq!(requested, expected);
        assert!(planner.is_complete());
    }

    #[test]
    fn wanted_ranges_come_before_read_ahead() {
        let mut planner = planner(10 * MIB);
        planner.add_wanted(range(0, 2 * HEAD));
        assert_eq!(planner.next(ReadAhead::Allowed), Some(range(0, MIB)));
        assert_eq!(planner.next(ReadAhead::Allowed), Some(range(MIB, 2 * MIB)));
        planner.add_wanted(range(9 * MIB, 9 * MIB + 1));
        assert_eq!(
            planner.next(ReadAhead::Allowed),
            Some(range(9 * MIB, 10 * MIB))
        );
    }

    #[test]
    fn nothing_is_read_ahead_of_a_file_that_is_not_open() {
        let mut planner = planner(10 * MIB);
        planner.add_wanted(range(MIB, MIB + 1));
        assert_eq!(planner.next(ReadAhead::Off), Some(range(MIB, 2 * MIB)));
        assert_eq!(planner.next(ReadAhead::Off), None);
        planner.failed(range(MIB, 2 * MIB));
        assert_eq!(
            planner.next(ReadAhead::Off),
            Some(range(MIB, 2 * MIB)),
            "requested again"
        );
        planner.failed(range(MIB, 2 * MIB));
        planner.cancel(range(MIB, MIB + 1));
        assert_eq!(planner.next(ReadAhead::Off), None);
    }

    #[test]
    fn no_byte_is_in_flight_twice_and_all_arrive_in_the_end() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let size = random.u64(1..20 * MIB);
            let mut planner = RangePlanner::new(size, RangeSet::new(), HEAD, MIB);
            let (mut in_flight, mut seen) = (Vec::new(), RangeSet::new());
            planner.add_wanted(range(0, size));
            loop {
                if random.u8(..) < 20 {
                    let start = random.u64(0..size);
                    planner.add_wanted(range(start, random.u64(start..size) + 1));
                }
                let next = (in_flight.len() < 4)
                    .then(|| planner.next(ReadAhead::Allowed))
                    .flatten();
                match next {
                    Some(range) => {
                        assert!(range.len() <= MIB && range.end() <= size);
                        in_flight.push(range);
                    }
                    None if in_flight.is_empty() => break,
                    None => {
                        let range = in_flight.swap_remove(random.usize(..in_flight.len()));
                        if random.u8(..) < 50 {
                            planner.failed(range);
                            continue;
                        }
                        assert!(
                            RangeSet::from(range).without(&seen) == RangeSet::from(range),
                            "{range} arrived twice"
                        );
                        seen.insert(range);
                        planner.arrived(range);
                    }
                }
            }
            assert!(planner.is_complete() && seen.covers(size));
        }
    }
}
