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

use crate::installation::Installation;

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

/// RequestHeads of requests that carry bytes are spoilt so often in a row: more often than a delivery
/// tries, twice.
const SPOILT_HEADS: u64 = 9;
/// What stands in such a head before the digits of a fingerprint.
const BEFORE_DIGITS: &[u8] = b"PUT /v1/uploads/";

/// How long a connection stays silent: longer than a person waits, shorter than a client gives up.
const SILENCE: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetworkFault {
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
struct FaultyProxy {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    met: Arc<AtomicU64>,
}

impl FaultyProxy {
    fn to(server: SocketAddr, mishap: NetworkFault) -> Self {
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
                let goes_wrong = number % 4 != 3 || mishap == NetworkFault::SpoilHeads;
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

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.closed.store(true, SeqCst);
        // Wakes the thread that accepts, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

/// Carries bytes both ways until one end is gone or the mishap ends it.
fn join(device: &TcpStream, server: &TcpStream, mishap: Option<NetworkFault>, met: &AtomicU64) {
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
            if mishap == Some(NetworkFault::SpoilHeads) {
                let is_spoilt =
                    piece.starts_with(BEFORE_DIGITS) && met.fetch_add(1, SeqCst) < SPOILT_HEADS;
                return if is_spoilt {
                    NetworkFault::SpoilHeads.befall(piece, device, to)
                } else {
                    to.write_all(piece)
                };
            }
            match mishap.filter(|_| passed > SPARED_BYTES && piece.len() == PIECE_BYTES) {
                Some(mishap) => {
                    let before = met.fetch_add(1, SeqCst);
                    if mishap == NetworkFault::Spoil
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

impl NetworkFault {
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
fn assert_photos_arrive_intact(mishap: NetworkFault) {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let way = FaultyProxy::to(installation.server.address(), mishap);
    let mut device = installation.device_at_address(&anna, "laptop", way.address);
    device.mount();
    for number in 0..6 {
        let (photo, _) = installation.photo(&format!("{number}.jpg"), 100_000 + number * 400_000);
        device.copy_in(&photo);
    }
    device.wait();
    let shelf = installation.scratch_folder("camera");
    installation.assert_backed_up(&shelf, &anna, "");
    assert_eq!(
        installation.server.images().len(),
        6,
        "nothing wrong was stored"
    );
    let met = way.met.load(SeqCst);
    println!("{mishap:?}: {met} times");
    assert!(met > 0, "nothing went wrong");
}

macro_rules! each_mishap {
    ($($test:ident: $mishap:ident,)*) => { $(
        #[test]
        fn $test() {
            assert_photos_arrive_intact(NetworkFault::$mishap);
        }
    )* };
}

each_mishap! {
    photos_arrive_intact_through_broken_connections: Cut,
    photos_arrive_intact_through_delays: Delay,
    photos_arrive_intact_through_a_throttled_network: Throttle,
    photos_arrive_intact_through_truncated_requests: Halve,
    photos_arrive_intact_through_repeated_bytes: Repeat,
    photos_arrive_intact_through_corrupted_bytes: Spoil,
    photos_arrive_intact_through_corrupted_request_heads: SpoilHeads,
    photos_arrive_intact_through_503_responses: Unavailable,
    photos_arrive_intact_through_garbage_responses: Garbage,
    photos_arrive_intact_through_a_black_hole: BlackHole,
}
