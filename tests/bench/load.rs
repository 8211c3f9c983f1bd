//! Asks a server as much as many devices do, for `scripts/bench server`.
//!
//! `load check ADDRESS TOKEN HELD CONNECTIONS SECONDS [PER_SECOND]`: checks of 500 images each, of
//! which half are held; prints images per second, and the median and the 99th percentile of an
//! answer in milliseconds. With `PER_SECOND` so many checks are asked in a second, over all
//! connections, otherwise as many as are answered.
//!
//! `load put ADDRESS TOKEN|- CONNECTIONS COUNT BYTES SEED [FOLDER]`: as many new images, each in
//! one request, to a server of ours or (`-`) one that takes files; prints MB per second. With
//! FOLDER the filesystem that it is on is synced before the clock is stopped.

#![expect(
    clippy::print_stdout,
    reason = "the figures go to the script that asks for them"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use heirloom_protocol::message::CheckImage;
use heirloom_protocol::possession::Proof;
use heirloom_protocol::{ContentDigest, Fingerprint, route};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Images in one check.
const TOGETHER: u64 = 500;
/// Different checks: together they touch pages all over the index.
const CHECKS: u64 = 400;
/// What is asked before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// Length of a held image, as the script that fills the index writes it.
const HELD_BYTES: u64 = 2_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [
            "check",
            address,
            token,
            held,
            connections,
            seconds,
            rest @ ..,
        ] => {
            let per_second = rest
                .first()
                .map(|rate| number(rate))
                .transpose()?
                .map(u32::try_from)
                .transpose()?;
            let asking = Asking {
                server: Server::new(address, token),
                checks: checks(number(held)?)?,
                per_second,
            };
            let seconds = Duration::from_secs(number(seconds)?);
            println!(
                "{}",
                ask(Arc::new(asking), number(connections)?, seconds).await?
            );
        }
        [
            "put",
            address,
            token,
            connections,
            count,
            bytes,
            seed,
            rest @ ..,
        ] => {
            let (images, connections) = (
                images(number(count)?, number(bytes)?, number(seed)?)?,
                number(connections)?,
            );
            let sending = Sending {
                server: Server::new(address, token),
                images,
                next: AtomicUsize::new(0),
            };
            println!(
                "{:.1}",
                send(Arc::new(sending), connections, rest.first().copied()).await?
            );
        }
        _ => bail!("usage: see the head of {}", file!()),
    }
    Ok(())
}

fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text} is no number"))
}

/// Whom to ask, and in whose name.
struct Server {
    address: String,
    token: Option<String>,
}

impl Server {
    fn new(address: &str, token: &str) -> Self {
        Self {
            address: address.to_owned(),
            token: (token != "-").then(|| token.to_owned()),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address);
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

async fn answered(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<()> {
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(
        status.is_success(),
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Checks that are asked again and again.
struct Asking {
    server: Server,
    checks: Vec<Bytes>,
    per_second: Option<u32>,
}

/// What came of it.
struct Asked {
    images_per_second: f64,
    median: Duration,
    slow: Duration,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            formatter,
            "{:.0} {:.1} {:.1}",
            self.images_per_second,
            ms(self.median),
            ms(self.slow)
        )
    }
}

/// The fingerprint that the index has at this place: eight bytes that ascend with it, four times.
fn held_image(number: u64, held: u64) -> Fingerprint {
    let eight = (number * (i64::MAX.unsigned_abs() / held)).to_be_bytes();
    Fingerprint::try_from([eight; 4].as_flattened()).expect("four times eight bytes")
}

/// Bodies of checks: every other image is held.
fn checks(held: u64) -> Result<Vec<Bytes>> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut image = |place| {
        let held = (place % 2 == 0).then(|| held_image(random.u64(..held), held));
        let fingerprint = held.unwrap_or_else(|| Fingerprint::of(&random.u64(..).to_be_bytes()));
        CheckImage {
            fingerprint,
            size: HELD_BYTES,
            proof: Some(Proof::from(*fingerprint.as_bytes())),
        }
    };
    let mut check = || serde_json::to_vec(&(0..TOGETHER).map(&mut image).collect::<Vec<_>>());
    (0..CHECKS).map(|_| Ok(check()?.into())).collect()
}

async fn ask(asking: Arc<Asking>, connections: u64, time: Duration) -> Result<Asked> {
    let begins = Instant::now() + WARM_UP;
    let mut askers = JoinSet::new();
    for number in 0..connections {
        askers.spawn(ask_over_one(
            Arc::clone(&asking),
            number,
            connections,
            begins,
            begins + time,
        ));
    }
    let mut took = Vec::new();
    while let Some(asked) = askers.join_next().await {
        took.extend(asked??);
    }
    ensure!(!took.is_empty(), "nothing was answered");
    took.sort_unstable();
    let images = u32::try_from(took.len() as u64 * TOGETHER)?;
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    Ok(Asked {
        images_per_second: f64::from(images) / time.as_secs_f64(),
        median: at(50),
        slow: at(99),
    })
}

/// How long each answer took that came after `begins`.
async fn ask_over_one(
    asking: Arc<Asking>,
    number: u64,
    connections: u64,
    begins: Instant,
    ends: Instant,
) -> Result<Vec<Duration>> {
    let mut sender = asking.server.connect().await?;
    let mut random = fastrand::Rng::with_seed(number);
    let gap = asking
        .per_second
        .map(|rate| Duration::from_secs(connections) / rate);
    let mut due = Instant::now() + gap.unwrap_or_default().mul_f64(random.f64());
    let mut took = Vec::new();
    while Instant::now() < ends {
        if let Some(gap) = gap {
            sleep_until(due).await;
            due += gap;
        }
        let check = asking.checks[random.usize(..asking.checks.len())].clone();
        let request = asking
            .server
            .request(Method::POST, route::CHECK)
            .header("content-type", "application/json");
        let asked = Instant::now();
        answered(&mut sender, request.body(Full::new(check))?).await?;
        if asked >= begins {
            took.push(asked.elapsed());
        }
    }
    Ok(took)
}

/// Images, and which is the next one to be sent.
struct Sending {
    server: Server,
    images: Vec<(Fingerprint, Bytes)>,
    next: AtomicUsize,
}

/// Images that differ, and fingerprints made before the clock runs.
fn images(count: u64, bytes: u64, seed: u64) -> Result<Vec<(Fingerprint, Bytes)>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let length = usize::try_from(bytes)?;
    let image = |_| {
        let mut image = vec![0; length];
        random.fill(&mut image);
        (Fingerprint::of(&image), Bytes::from(image))
    };
    Ok((0..count).map(image).collect())
}

async fn send(sending: Arc<Sending>, connections: u64, folder: Option<&str>) -> Result<f64> {
    let bytes: usize = sending.images.iter().map(|(_, image)| image.len()).sum();
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn(send_over_one(Arc::clone(&sending)));
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    if let Some(folder) = folder {
        rustix::fs::syncfs(std::fs::File::open(folder)?)?;
    }
    Ok(f64::from(u32::try_from(bytes)?) / 1e6 / begun.elapsed().as_secs_f64())
}

async fn send_over_one(sending: Arc<Sending>) -> Result<()> {
    let mut sender = sending.server.connect().await?;
    while let Some((fingerprint, image)) = sending
        .images
        .get(sending.next.fetch_add(1, Ordering::Relaxed))
    {
        let path = match &sending.server.token {
            Some(_) => route::shard(*fingerprint, 0),
            None => format!("/{fingerprint}"),
        };
        let request = sending.server.request(Method::PUT, &path);
        let request = request.header(route::UPLOAD_LENGTH, image.len()).header(
            route::CONTENT_DIGEST,
            ContentDigest::from(*fingerprint).to_string(),
        );
        answered(&mut sender, request.body(Full::new(image.clone()))?).await?;
    }
    Ok(())
}
