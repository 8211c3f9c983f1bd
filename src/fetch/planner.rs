//! *Pieces*: which bytes of a photo are fetched next. Pure, so that it can be tested to the end.
//!
//! What somebody waits for comes first. Who reads within the head gets the head and no more. Who
//! reads on gets all of it, from where they read: that is one program in a hundred that wanted
//! less, and ninety-nine that need not wait again.

use heirloom_protocol::{ByteRange, RangeSet};

/// What is here of a photo, on its way, and wanted.
#[derive(Debug)]
pub(super) struct Pieces {
    size: u64,
    head_bytes: u64,
    piece_bytes: u64,
    held: RangeSet,
    under_way: RangeSet,
    wanted: Vec<ByteRange>,
    /// Where reading went on to, once somebody read past the head.
    ahead_from: Option<u64>,
}

impl Pieces {
    pub(super) fn new(size: u64, held: RangeSet, head_bytes: u64, piece_bytes: u64) -> Self {
        let (under_way, wanted) = (RangeSet::new(), Vec::new());
        Self {
            size,
            head_bytes,
            piece_bytes,
            held,
            under_way,
            wanted,
            ahead_from: None,
        }
    }

    pub(super) const fn held(&self) -> &RangeSet {
        &self.held
    }

    pub(super) fn is_whole(&self) -> bool {
        self.held.covers(self.size)
    }

    /// Whether these bytes are here, in so far as the photo has them.
    pub(super) fn holds(&self, range: ByteRange) -> bool {
        ByteRange::new(range.start(), range.end().min(self.size))
            .map_or(true, |range| self.held.contains(range))
    }

    /// Somebody waits for these bytes.
    pub(super) fn want(&mut self, range: ByteRange) {
        self.wanted.push(range);
        if range.end() > self.head_bytes {
            self.ahead_from = Some(range.start());
        }
    }

    /// Only what is waited for, until somebody reads past the head again.
    pub(super) fn stop_reading_ahead(&mut self) {
        self.ahead_from = None;
    }

    /// One who waited for these does not any more.
    pub(super) fn unwant(&mut self, range: ByteRange) {
        if let Some(index) = self.wanted.iter().position(|wanted| *wanted == range) {
            self.wanted.remove(index);
        }
    }

    /// The next piece to ask for, which is on its way from now on. `Company::None`: nobody has the
    /// photo open, so only what is waited for.
    pub(super) fn next(&mut self, company: Company) -> Option<ByteRange> {
        let mut taken = self.held.clone();
        self.under_way.iter().for_each(|range| taken.insert(range));
        let missing = taken.missing(self.size);
        let wanted = self
            .wanted
            .iter()
            .find_map(|wanted| self.wanted_piece(&missing, *wanted));
        let piece = wanted.or_else(|| match company {
            Company::None => None,
            Company::Readers => self.piece_ahead(&missing),
        })?;
        self.under_way.insert(piece);
        Some(piece)
    }

    fn wanted_piece(&self, missing: &RangeSet, wanted: ByteRange) -> Option<ByteRange> {
        let hole = missing
            .iter()
            .find(|hole| hole.end() > wanted.start() && hole.start() < wanted.end())?;
        let start = hole.start().max(wanted.start());
        if wanted.end() <= self.head_bytes {
            // All of the head at once: whoever reads the first bytes reads the next ones, too.
            return ByteRange::new(hole.start(), hole.end().min(self.head_bytes)).ok();
        }
        self.piece_at(hole, start)
    }

    fn piece_ahead(&self, missing: &RangeSet) -> Option<ByteRange> {
        let from = self.ahead_from?;
        match missing.iter().find(|hole| hole.end() > from) {
            Some(hole) => self.piece_at(hole, hole.start().max(from)),
            None => missing
                .iter()
                .next()
                .and_then(|hole| self.piece_at(hole, hole.start())),
        }
    }

    /// Up to the next multiple of a piece, so that pieces of several readers meet without slivers
    /// between them.
    fn piece_at(&self, hole: ByteRange, start: u64) -> Option<ByteRange> {
        let end = (start / self.piece_bytes + 1) * self.piece_bytes;
        ByteRange::new(start, end.min(hole.end())).ok()
    }

    /// A piece is here.
    pub(super) fn came(&mut self, piece: ByteRange) {
        self.under_way.remove(piece);
        self.held.insert(piece);
    }

    /// A piece will not come; it may be asked for again.
    pub(super) fn failed(&mut self, piece: ByteRange) {
        self.under_way.remove(piece);
    }

    /// Nothing of what is here is to be believed.
    pub(super) fn disbelieve(&mut self) {
        self.held = RangeSet::new();
    }
}

/// Whether anybody has the photo open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    None,
    Readers,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HEAD: u64 = 64 << 10;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    fn pieces(size: u64) -> Pieces {
        Pieces::new(size, RangeSet::new(), HEAD, MIB)
    }

    #[test]
    fn who_reads_the_head_gets_the_head_and_no_more() {
        let mut pieces = pieces(10 * MIB);
        pieces.want(range(0, 4096));
        pieces.want(range(8192, 16384));
        assert_eq!(pieces.next(Company::Readers), Some(range(0, HEAD)));
        assert_eq!(pieces.next(Company::Readers), None);
    }

    #[test]
    fn who_reads_on_gets_all_of_it_from_there() {
        let mut pieces = pieces(4 * MIB + 5);
        pieces.want(range(2 * MIB + 4096, 2 * MIB + 8192));
        let mut asked = Vec::new();
        while let Some(piece) = pieces.next(Company::Readers) {
            asked.push(piece);
            pieces.came(piece);
        }
        let expected = [
            range(2 * MIB + 4096, 3 * MIB),
            range(3 * MIB, 4 * MIB),
            range(4 * MIB, 4 * MIB + 5),
            range(0, MIB),
            range(MIB, 2 * MIB),
            range(2 * MIB, 2 * MIB + 4096),
        ];
        assert_eq!(asked, expected);
        assert!(pieces.is_whole());
    }

    #[test]
    fn what_somebody_waits_for_comes_before_what_is_read_ahead() {
        let mut pieces = pieces(10 * MIB);
        pieces.want(range(0, 2 * HEAD));
        assert_eq!(pieces.next(Company::Readers), Some(range(0, MIB)));
        assert_eq!(pieces.next(Company::Readers), Some(range(MIB, 2 * MIB)));
        pieces.want(range(9 * MIB, 9 * MIB + 1));
        assert_eq!(
            pieces.next(Company::Readers),
            Some(range(9 * MIB, 10 * MIB))
        );
    }

    #[test]
    fn nothing_is_read_ahead_when_nobody_has_it_open() {
        let mut pieces = pieces(10 * MIB);
        pieces.want(range(MIB, MIB + 1));
        assert_eq!(pieces.next(Company::None), Some(range(MIB, 2 * MIB)));
        assert_eq!(pieces.next(Company::None), None);
        pieces.failed(range(MIB, 2 * MIB));
        assert_eq!(
            pieces.next(Company::None),
            Some(range(MIB, 2 * MIB)),
            "asked again"
        );
        pieces.failed(range(MIB, 2 * MIB));
        pieces.unwant(range(MIB, MIB + 1));
        assert_eq!(pieces.next(Company::None), None);
    }

    #[test]
    fn no_byte_is_asked_for_twice_at_a_time_and_all_come_in_the_end() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let size = random.u64(1..20 * MIB);
            let mut pieces = Pieces::new(size, RangeSet::new(), HEAD, MIB);
            let (mut under_way, mut seen) = (Vec::new(), RangeSet::new());
            pieces.want(range(0, size));
            loop {
                if random.u8(..) < 20 {
                    let start = random.u64(0..size);
                    pieces.want(range(start, random.u64(start..size) + 1));
                }
                let next = (under_way.len() < 4)
                    .then(|| pieces.next(Company::Readers))
                    .flatten();
                match next {
                    Some(piece) => {
                        assert!(piece.len() <= MIB && piece.end() <= size);
                        under_way.push(piece);
                    }
                    None if under_way.is_empty() => break,
                    None => {
                        let piece = under_way.swap_remove(random.usize(..under_way.len()));
                        if random.u8(..) < 50 {
                            pieces.failed(piece);
                            continue;
                        }
                        assert!(
                            RangeSet::from(piece).without(&seen) == RangeSet::from(piece),
                            "{piece} came twice"
                        );
                        seen.insert(piece);
                        pieces.came(piece);
                    }
                }
            }
            assert!(pieces.is_whole() && seen.covers(size));
        }
    }
}
