//! *Mishaps*: a network that cuts, delays, throttles, halves, repeats, spoils, answers for the
//! server, or says nothing.
//!
//! Three connections of four go wrong, and all photos arrive right all the same.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::house::House;

/// Bytes taken from a connection at a time. A full piece is the inside of a shard: no head is so
/// long.
const PIECE_BYTES: usize = 16 << 10;

/// What goes wrong does so after so many bytes of a connection, in the middle of the first shards.
const SPARED_BYTES: u64 = 60_000;

/// One piece of so many is spoilt: some in each of the first shards, more often than a client tries
/// at once.
const SPOILT_EVERY: u64 = 20;
/// And after so many pieces no more: a network that spoils every shard for ever carries no photos.
const SPOILT_PIECES: u64 = 240;

/// Heads of requests that carry bytes are spoilt so often in a row: more often than a delivery
/// tries, twice.
const SPOILT_HEADS: u64 = 9;
/// What stands in such a head before the digits of a fingerprint.
const BEFORE_DIGITS: &[u8] = b"PUT /v1/uploads/";

/// How long a connection stays silent: longer than a person waits, shorter than a client gives up.
const SILENCE: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// The connection breaks.
    Cut,
    /// Every piece comes late.
    Delay,
    /// Few bytes per second.
    Throttle,
    /// Half a piece, then nothing any more.
    Halve,
    /// A piece comes twice.
    Repeat,
    /// A byte is another one.
    Spoil,
    /// A byte of what a request says of itself is another one, again and again.
    SpoilHeads,
    /// Something in between answers 503.
    Unavailable,
    /// Something in between answers what is no HTTP.
    Garbage,
    /// Bytes go in, and nothing comes out until the connection breaks.
    BlackHole,
}

/// The way to a server, on which this goes wrong.
struct Way {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    met: Arc<AtomicU64>,
}

impl Way {
    fn to(server: SocketAddr, mishap: Mishap) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (closed, met) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ended, meeting) = (Arc::clone(&closed), Arc::clone(&met));
        thread::spawn(move || {
            for (number, device) in listener.incoming().enumerate() {
                if ended.load(SeqCst) {
                    return;
                }
                let (Ok(device), Ok(server)) = (device, TcpStream::connect(server)) else {
                    continue;
                };
                let goes_wrong = number % 4 != 3 || mishap == Mishap::SpoilHeads;
                let (mishap, met) = (goes_wrong.then_some(mishap), Arc::clone(&meeting));
                thread::spawn(move || join(&device, &server, mishap, &met));
            }
        });
        Self {
            address,
            closed,
            met,
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.closed.store(true, SeqCst);
        // Wakes the thread that accepts, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

/// Carries bytes both ways until one end is gone or the mishap ends it.
fn join(device: &TcpStream, server: &TcpStream, mishap: Option<Mishap>, met: &AtomicU64) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let carried = carry(server, device, |piece, mut to| to.write_all(piece));
            drop((
                carried,
                device.shutdown(Shutdown::Both),
                server.shutdown(Shutdown::Both),
            ));
        });
        let mut passed = 0;
        let carried = carry(device, server, |piece, mut to| {
            passed += piece.len() as u64;
            if mishap == Some(Mishap::SpoilHeads) {
                let is_spoilt =
                    piece.starts_with(BEFORE_DIGITS) && met.fetch_add(1, SeqCst) < SPOILT_HEADS;
                return if is_spoilt {
                    Mishap::SpoilHeads.befall(piece, device, to)
                } else {
                    to.write_all(piece)
                };
            }
            match mishap.filter(|_| passed > SPARED_BYTES && piece.len() == PIECE_BYTES) {
                Some(mishap) => {
                    let before = met.fetch_add(1, SeqCst);
                    if mishap == Mishap::Spoil
                        && (before >= SPOILT_PIECES || !before.is_multiple_of(SPOILT_EVERY))
                    {
                        return to.write_all(piece);
                    }
                    mishap.befall(piece, device, to)
                }
                None => to.write_all(piece),
            }
        });
        // One of them may be gone already.
        drop((
            carried,
            device.shutdown(Shutdown::Both),
            server.shutdown(Shutdown::Both),
        ));
    });
}

fn carry(
    mut from: &TcpStream,
    to: &TcpStream,
    mut pass: impl FnMut(&[u8], &TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            read => pass(&piece[..read], to)?,
        }
    }
}

impl Mishap {
    /// What happens to one piece on its way. An error ends the connection.
    fn befall(
        self,
        piece: &[u8],
        mut device: &TcpStream,
        mut server: &TcpStream,
    ) -> io::Result<()> {
        match self {
            Self::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
            Self::Delay | Self::Throttle => {
                thread::sleep(Duration::from_millis(if self == Self::Delay {
                    20
                } else {
                    60
                }));
                server.write_all(piece)
            }
            Self::Halve => {
                server.write_all(&piece[..piece.len() / 2])?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Self::Repeat => {
                server.write_all(piece)?;
                server.write_all(piece)
            }
            Self::Spoil => {
                let mut spoilt = piece.to_vec();
                spoilt[PIECE_BYTES / 2] ^= 1;
                server.write_all(&spoilt)
            }
            Self::SpoilHeads => {
                let mut spoilt = piece.to_vec();
                // No digit any more.
                spoilt[BEFORE_DIGITS.len()] = b'x';
                server.write_all(&spoilt)
            }
            Self::Unavailable => {
                device.write_all(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Self::Garbage => {
                device.write_all(&[0xa5; 2_000])?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Self::BlackHole => {
                thread::sleep(SILENCE);
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

/// Copies photos into a mount behind a network on which this goes wrong; each is at the server
/// afterwards, and nothing else is.
#[track_caller]
fn all_photos_arrive_right(mishap: Mishap) {
    let mut house = House::new();
    let anna = house.person("anna");
    let way = Way::to(house.server.address(), mishap);
    let mut device = house.device_behind(&anna, "laptop", way.address);
    device.mount();
    for number in 0..6 {
        let (photo, _) = house.photo(&format!("{number}.jpg"), 100_000 + number * 400_000);
        device.copy_in(&photo);
    }
    device.wait();
    let shelf = house.shelf("camera");
    house.keeps_all_of(&shelf, &anna, "");
    assert_eq!(house.server.images().len(), 6, "nothing wrong was stored");
    let met = way.met.load(SeqCst);
    println!("{mishap:?}: {met} times");
    assert!(met > 0, "nothing went wrong");
}

macro_rules! each_mishap {
    ($($test:ident: $mishap:ident,)*) => { $(
        #[test]
        fn $test() {
            all_photos_arrive_right(Mishap::$mishap);
        }
    )* };
}

each_mishap! {
    photos_arrive_right_through_cuts: Cut,
    photos_arrive_right_through_delays: Delay,
    photos_arrive_right_through_a_throttled_network: Throttle,
    photos_arrive_right_through_halved_requests: Halve,
    photos_arrive_right_through_repeated_bytes: Repeat,
    photos_arrive_right_through_spoilt_bytes: Spoil,
    photos_arrive_right_through_spoilt_heads: SpoilHeads,
    photos_arrive_right_through_answers_of_503: Unavailable,
    photos_arrive_right_through_garbage: Garbage,
    photos_arrive_right_through_a_black_hole: BlackHole,
}
