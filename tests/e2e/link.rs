//! A network link between a device and the server that counts bytes, limits their rate, and can be
//! disconnected.
//!
//! It is a TCP proxy in the test's own process. What a program says about the bytes it sent is a
//! claim; what passed here is the truth.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use heirloom_protocol::batch::{BatchEntry, BatchHeader};
use heirloom_protocol::{ByteRange, Fingerprint};
use parking_lot::Mutex;

/// Bytes read from a connection at a time: few, so that a slow link is evenly slow.
const PIECE_BYTES: usize = 16 << 10;

/// The receive buffer of the device's side, in bytes. A large one would accept bytes that a slow
/// link has not carried yet.
const WINDOW_BYTES: usize = 64 << 10;

/// A listening link. Dropping it disconnects it for good.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: Arc<LinkState>,
}

/// A shard that a client began to send.
#[derive(Clone, Copy, Debug)]
pub struct SentShard {
    /// The image it belongs to.
    pub image: Fingerprint,
    /// The bytes of the image.
    pub range: ByteRange,
}

#[derive(Debug)]
struct LinkState {
    server: Mutex<SocketAddr>,
    connected: AtomicBool,
    closed: AtomicBool,
    /// Bytes per second from the device to the server; 0: unlimited.
    rate: AtomicU64,
    /// When the link has carried everything it accepted.
    free_at: Mutex<Instant>,
    to_server: AtomicU64,
    to_device: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
    shards: Mutex<Vec<SentShard>>,
}

impl Link {
    /// A link to the server at this address.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, WINDOW_BYTES)
            .expect("a small window");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(LinkState {
            server: Mutex::new(server),
            connected: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            rate: AtomicU64::new(0),
            free_at: Mutex::new(Instant::now()),
            to_server: AtomicU64::new(0),
            to_device: AtomicU64::new(0),
            connections: Mutex::new(Vec::new()),
            shards: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, state }
    }

    /// The address that devices connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects to another address from the next connection on, like a host name whose address
    /// changed.
    pub fn redirect_to(&self, server: SocketAddr) {
        *self.state.server.lock() = server;
    }

    /// Limits the rate to the server to this many bytes per second from now on.
    pub fn limit_rate_to(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, SeqCst);
    }

    /// Removes the limit.
    pub fn full_speed(&self) {
        self.limit_rate_to(0);
    }

    /// Disconnects: open connections break, new ones are refused.
    pub fn disconnect(&self) {
        self.state.connected.store(false, SeqCst);
        self.reset_connections();
    }

    /// Accepts connections again.
    pub fn reconnect(&self) {
        self.state.connected.store(true, SeqCst);
    }

    /// Breaks all open connections: what a dead process's kernel would still have sent is lost.
    pub fn reset_connections(&self) {
        for connection in self.state.connections.lock().drain(..) {
            // It may be closed already; then there is nothing to break.
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// Bytes sent from the device to the server so far, headers included.
    pub fn bytes_to_server(&self) -> u64 {
        self.state.to_server.load(SeqCst)
    }

    /// Bytes sent from the server to the device so far.
    pub fn bytes_to_device(&self) -> u64 {
        self.state.to_device.load(SeqCst)
    }

    /// The shards whose sending began since the last call, in order.
    pub fn take_sent_shards(&self) -> Vec<SentShard> {
        std::mem::take(&mut *self.state.shards.lock())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.closed.store(true, SeqCst);
        self.disconnect();
        // Wakes the accepting thread, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

impl LinkState {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for device in listener.incoming() {
            if self.closed.load(SeqCst) {
                return;
            }
            let (Ok(device), true) = (device, self.connected.load(SeqCst)) else {
                continue;
            };
            let server = *self.server.lock();
            let Ok(server) = TcpStream::connect(server) else {
                continue;
            };
            if let Err(error) = self.join(device, server) {
                println!("link: a connection could not be joined: {error}");
            }
        }
    }

    fn join(self: &Arc<Self>, device: TcpStream, server: TcpStream) -> io::Result<()> {
        server.set_nodelay(true)?;
        device.set_nodelay(true)?;
        self.connections
            .lock()
            .extend([device.try_clone()?, server.try_clone()?]);
        let (device_in, server_in) = (device.try_clone()?, server.try_clone()?);
        let state = Arc::clone(self);
        let mut heads = RequestHeads::default();
        thread::spawn(move || carry(device_in, server, |piece| state.send(&mut heads, piece)));
        let answering = Arc::clone(self);
        thread::spawn(move || {
            carry(server_in, device, |piece| {
                answering.to_device.fetch_add(piece.len() as u64, SeqCst);
            });
        });
        Ok(())
    }

    /// Waits for as long as the link needs for these bytes, and counts them.
    fn send(&self, heads: &mut RequestHeads, piece: &[u8]) {
        let nanoseconds = piece.len() as u64 * 1_000_000_000;
        if let Some(needed) = nanoseconds.checked_div(self.rate.load(SeqCst)) {
            let free_at = {
                let mut free_at = self.free_at.lock();
                *free_at = (*free_at).max(Instant::now()) + Duration::from_nanos(needed);
                *free_at
            };
            thread::sleep(free_at.saturating_duration_since(Instant::now()));
        }
        self.to_server.fetch_add(piece.len() as u64, SeqCst);
        self.shards.lock().extend(heads.read(piece));
    }
}

/// Forwards bytes until either end closes; then closes both.
fn carry(mut from: TcpStream, mut to: TcpStream, mut passing: impl FnMut(&[u8])) {
    let mut piece = [0; PIECE_BYTES];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        passing(&piece[..read]);
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

/// Finds the heads of HTTP/1.1 requests in one connection's bytes.
#[derive(Debug, Default)]
struct RequestHeads {
    head: Vec<u8>,
    /// Bytes of the body that precede the next head.
    body: usize,
    /// The part of a batch's header that has arrived, until it is complete.
    list: Option<Vec<u8>>,
}

impl RequestHeads {
    /// Reads the next bytes of the connection; returns the shards that begin there.
    fn read(&mut self, mut piece: &[u8]) -> Vec<SentShard> {
        let mut shards = Vec::new();
        loop {
            let body = self.body.min(piece.len());
            self.body -= body;
            shards.extend(self.read_list(&piece[..body]));
            piece = &piece[body..];
            if piece.is_empty() {
                return shards;
            }
            let known = self.head.len();
            self.head.extend_from_slice(piece);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return shards;
            };
            piece = &piece[end + 4 - known..];
            let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
            self.head.clear();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            self.body = length.unwrap_or(0);
            shards.extend(shard_of(&head, self.body as u64));
            self.list = head.starts_with("post /v1/parcels ").then(Vec::new);
        }
    }

    /// Reads the next bytes of a body; returns the images of a batch once its header is complete.
    fn read_list(&mut self, body: &[u8]) -> Vec<SentShard> {
        let Some(list) = &mut self.list else {
            return Vec::new();
        };
        list.extend_from_slice(body);
        let Some(end) = list.iter().position(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let packed: BatchHeader =
            serde_json::from_slice(&list[..end]).expect("a client sends whole lists");
        self.list = None;
        let whole = |packed: &BatchEntry| SentShard {
            image: packed.fingerprint,
            range: ByteRange::new(0, packed.size).expect("no image is empty"),
        };
        packed.images.iter().map(whole).collect()
    }
}

/// The shard that a request carries, if it carries one.
fn shard_of(head: &str, length: u64) -> Option<SentShard> {
    let (image, offset) = head
        .strip_prefix("put /v1/uploads/")?
        .split(' ')
        .next()?
        .split_once('/')?;
    let range = ByteRange::at(offset.parse().ok()?, length).ok()?;
    Some(SentShard {
        image: image.parse().ok()?,
        range,
    })
}

#[test]
fn the_link_sees_every_shard_however_the_stream_is_split() {
    let (one, two) = (Fingerprint::of(b"one"), Fingerprint::of(b"two"));
    let put = |image, offset: u64, body: &[u8]| {
        let head = format!(
            "PUT /v1/uploads/{image}/{offset} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let get = b"GET /v1/session HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let misleading = put(two, 7, b"\r\n\r\nPUT /v1/uploads/");
    let list = BatchHeader {
        images: vec![
            BatchEntry {
                fingerprint: two,
                size: 3,
            },
            BatchEntry {
                fingerprint: one,
                size: 4,
            },
        ],
    };
    let body = [list.encode(), b"\n\r\n\r\nPU".to_vec()].concat();
    let head = format!(
        "POST /v1/parcels HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let batch = [head.into_bytes(), body].concat();
    let stream = [
        put(one, 0, &[0; 100]),
        get,
        batch,
        misleading,
        put(one, 100, &[0; 50]),
    ]
    .concat();
    for cut in 1..stream.len() {
        let mut heads = RequestHeads::default();
        let pieces = [&stream[..cut], &stream[cut..]];
        let seen: Vec<_> = pieces
            .into_iter()
            .flat_map(|piece| heads.read(piece))
            .collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|shard| (shard.image, shard.range.start(), shard.range.len()))
            .collect();
        assert_eq!(
            seen,
            [
                (one, 0, 100),
                (two, 0, 3),
                (one, 0, 4),
                (two, 7, 20),
                (one, 100, 50)
            ],
            "cut at {cut}"
        );
    }
}
