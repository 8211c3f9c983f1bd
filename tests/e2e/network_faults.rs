//! Networks that break, delay, throttle, truncate, repeat or corrupt, that answer in the server's
//! place, or that say nothing.
//!
//! Three of four connections fail, and all photos arrive intact.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::installation::Installation;

/// Bytes read from a connection at a time. A full piece is inside a shard: no request head is that
/// long.
const PIECE_BYTES: usize = 16 << 10;

/// Faults begin after this many bytes of a connection, in the middle of the first shards.
const INTACT_BYTES: u64 = 60_000;

/// One of this many pieces is corrupted: some in each of the first shards, more often than a client
/// retries at once.
const CORRUPTED_EVERY: u64 = 20;
/// After this many pieces nothing is corrupted any more: a network that corrupts every shard for
/// ever carries no photos.
const PIECES_UNTIL_INTACT: u64 = 240;

/// This many request heads in a row are corrupted: more than two deliveries try.
const CORRUPTED_HEADS: u64 = 9;
/// The bytes before the digits of a fingerprint in such a head.
const HEAD_BEFORE_DIGITS: &[u8] = b"PUT /v1/uploads/";

/// How long a connection is silent: longer than a person waits, shorter than the client's timeout.
const SILENCE: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetworkFault {
    /// The connection breaks.
    Cut,
    /// Every piece is delayed.
    Delay,
    /// Few bytes per second.
    Throttle,
    /// Half a piece arrives, then the connection breaks.
    Truncate,
    /// A piece arrives twice.
    Repeat,
    /// A byte of a body is changed.
    CorruptBody,
    /// A byte of a request head is changed, again and again.
    CorruptHeads,
    /// A proxy answers 503.
    Unavailable,
    /// A proxy answers with something that is not HTTP.
    Garbage,
    /// Bytes are accepted, and nothing comes back until the connection breaks.
    BlackHole,
}

/// A proxy to a server that injects one kind of fault.
struct FaultyProxy {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    applied: Arc<AtomicU64>,
}

impl FaultyProxy {
    fn to(server: SocketAddr, fault: NetworkFault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (closed, applied) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ended, counter) = (Arc::clone(&closed), Arc::clone(&applied));
        thread::spawn(move || {
            for (number, device) in listener.incoming().enumerate() {
                if ended.load(SeqCst) {
                    return;
                }
                let (Ok(device), Ok(server)) = (device, TcpStream::connect(server)) else {
                    continue;
                };
                let goes_wrong = number % 4 != 3 || fault == NetworkFault::CorruptHeads;
                let (fault, applied) = (goes_wrong.then_some(fault), Arc::clone(&counter));
                thread::spawn(move || join(&device, &server, fault, &applied));
            }
        });
        Self {
            address,
            closed,
            applied,
        }
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.closed.store(true, SeqCst);
        // Wakes the accepting thread, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

/// Forwards bytes both ways until one end closes or a fault breaks the connection.
fn join(device: &TcpStream, server: &TcpStream, fault: Option<NetworkFault>, applied: &AtomicU64) {
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
            if fault == Some(NetworkFault::CorruptHeads) {
                let is_corrupted = piece.starts_with(HEAD_BEFORE_DIGITS)
                    && applied.fetch_add(1, SeqCst) < CORRUPTED_HEADS;
                return if is_corrupted {
                    NetworkFault::CorruptHeads.apply(piece, device, to)
                } else {
                    to.write_all(piece)
                };
            }
            match fault.filter(|_| passed > INTACT_BYTES && piece.len() == PIECE_BYTES) {
                Some(fault) => {
                    let before = applied.fetch_add(1, SeqCst);
                    if fault == NetworkFault::CorruptBody
                        && (before >= PIECES_UNTIL_INTACT
                            || !before.is_multiple_of(CORRUPTED_EVERY))
                    {
                        return to.write_all(piece);
                    }
                    fault.apply(piece, device, to)
                }
                None => to.write_all(piece),
            }
        });
        // One of them may be closed already.
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
    /// Applies the fault to one piece. An error breaks the connection.
    fn apply(self, piece: &[u8], mut device: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
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
            Self::Truncate => {
                server.write_all(&piece[..piece.len() / 2])?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Self::Repeat => {
                server.write_all(piece)?;
                server.write_all(piece)
            }
            Self::CorruptBody => {
                let mut corrupted = piece.to_vec();
                corrupted[PIECE_BYTES / 2] ^= 1;
                server.write_all(&corrupted)
            }
            Self::CorruptHeads => {
                let mut corrupted = piece.to_vec();
                // Not a digit any more.
                corrupted[HEAD_BEFORE_DIGITS.len()] = b'x';
                server.write_all(&corrupted)
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

/// Copies photos into a mount behind a network with this fault, and asserts that each is on the
/// server afterwards, and nothing else.
#[track_caller]
fn assert_photos_arrive_intact(fault: NetworkFault) {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let proxy = FaultyProxy::to(installation.server.address(), fault);
    let mut device = installation.device_at_address(&anna, "laptop", proxy.address);
    device.mount();
    for number in 0..6 {
        let (photo, _) = installation.photo(&format!("{number}.jpg"), 100_000 + number * 400_000);
        device.copy_in(&photo);
    }
    device.wait();
    let photos = installation.scratch_folder("camera");
    installation.assert_backed_up(&photos, &anna, "");
    assert_eq!(
        installation.server.images().len(),
        6,
        "nothing wrong was stored"
    );
    let applied = proxy.applied.load(SeqCst);
    println!("{fault:?}: {applied} times");
    assert!(applied > 0, "nothing went wrong");
}

macro_rules! each_fault {
    ($($test:ident: $fault:ident,)*) => { $(
        #[test]
        fn $test() {
            assert_photos_arrive_intact(NetworkFault::$fault);
        }
    )* };
}

each_fault! {
    photos_arrive_intact_through_broken_connections: Cut,
    photos_arrive_intact_through_delays: Delay,
    photos_arrive_intact_through_a_throttled_network: Throttle,
    photos_arrive_intact_through_truncated_requests: Truncate,
    photos_arrive_intact_through_repeated_bytes: Repeat,
    photos_arrive_intact_through_corrupted_bytes: CorruptBody,
    photos_arrive_intact_through_corrupted_request_heads: CorruptHeads,
    photos_arrive_intact_through_503_responses: Unavailable,
    photos_arrive_intact_through_garbage_responses: Garbage,
    photos_arrive_intact_through_a_black_hole: BlackHole,
}
