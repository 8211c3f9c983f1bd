//! Sends requests to the server directly, without the client under test: its answers are what the
//! tests compare with.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use heirloom_protocol::message::{CheckImage, CheckedImage, LibraryFeed, LibraryPhoto};
use heirloom_protocol::{Fingerprint, RangeSet, route};
use serde::de::DeserializeOwned;

/// A server that sends nothing for this long hangs.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// A response as it arrived.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// An HTTP client with one user's token.
#[derive(Clone, Debug)]
pub struct HttpClient {
    server: SocketAddr,
    token: String,
}

impl HttpClient {
    /// A client for the server at this address.
    pub fn new(server: SocketAddr, token: &str) -> Self {
        Self {
            server,
            token: token.to_owned(),
        }
    }

    /// Sends one request on a new connection.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        let mut connection = TcpStream::connect(self.server).expect("the server accepts");
        connection
            .set_read_timeout(Some(RESPONSE_TIMEOUT))
            .expect("a time limit");
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n",
            self.server,
            self.token,
            body.len()
        );
        for (name, value) in headers {
            head = format!("{head}{name}: {value}\r\n");
        }
        connection
            .write_all(format!("{head}\r\n").as_bytes())
            .expect("the server reads");
        connection.write_all(body).expect("the server reads");
        let mut response = Vec::new();
        connection
            .read_to_end(&mut response)
            .expect("the server answers");
        HttpResponse::parse(&response)
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> HttpResponse {
        self.request("GET", path, &[], b"")
    }

    /// `GET` of a JSON message.
    pub fn message<M: DeserializeOwned>(&self, path: &str) -> M {
        let response = self.get(path);
        assert_eq!(
            response.status,
            200,
            "{path}: {}",
            String::from_utf8_lossy(&response.body)
        );
        serde_json::from_slice(&response.body).expect("a message of the protocol")
    }

    /// `POST` of a JSON body.
    pub fn post(&self, path: &str, body: &[u8]) -> HttpResponse {
        self.request("POST", path, &[("Content-Type", "application/json")], body)
    }

    /// An image's bytes, if this user holds it.
    pub fn image(&self, fingerprint: Fingerprint) -> Option<Vec<u8>> {
        let response = self.get(&route::image(fingerprint));
        match response.status {
            200 => Some(response.body),
            404 => None,
            other => panic!("GET of {fingerprint} answered {other}"),
        }
    }

    /// The ranges of these images (fingerprint and length) that the server says are durable for
    /// this user.
    pub fn received_ranges(
        &self,
        images: &[(Fingerprint, u64)],
    ) -> BTreeMap<Fingerprint, RangeSet> {
        let check = |(fingerprint, size): &(Fingerprint, u64)| CheckImage {
            fingerprint: *fingerprint,
            size: *size,
            proof: None,
        };
        let checks: Vec<_> = images.iter().map(check).collect();
        let response = self.post(route::CHECK, &serde_json::to_vec(&checks).expect("JSON"));
        let response: Vec<CheckedImage> =
            serde_json::from_slice(&response.body).expect("an response to a check");
        let ranges = |image: CheckedImage| match image {
            CheckedImage::Owned { receipt } | CheckedImage::Linked { receipt } => {
                RangeSet::whole(receipt.size)
            }
            CheckedImage::Interrupted { received, .. } => received,
            CheckedImage::Absent { .. } => RangeSet::new(),
        };
        response
            .into_iter()
            .map(|image| (image.fingerprint(), ranges(image)))
            .collect()
    }

    /// The user's library: fingerprints by path.
    pub fn library(&self) -> BTreeMap<String, Fingerprint> {
        self.photos()
            .into_iter()
            .map(|(path, photo)| (path, photo.fingerprint))
            .collect()
    }

    /// The mtime that the library has for a path, in nanoseconds since the epoch.
    pub fn mtime_of(&self, path: &str) -> Option<i64> {
        self.photos().get(path).map(|photo| photo.mtime_ns)
    }

    fn photos(&self) -> BTreeMap<String, LibraryPhoto> {
        let mut library = BTreeMap::new();
        let mut since = 0;
        loop {
            let feed: LibraryFeed = self.message(&route::library_feed(since, 0));
            for entry in feed.entries {
                match entry.photo {
                    Some(photo) => library.insert(entry.path.to_string(), photo),
                    None => library.remove(entry.path.as_str()),
                };
            }
            if !feed.more {
                return library;
            }
            since = feed.next;
        }
    }

    /// A value from the server's metrics; fails if the name does not exist.
    pub fn metric(&self, name: &str) -> u64 {
        let response = self.get(route::METRICS);
        let text = String::from_utf8(response.body).expect("metrics are text");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in:\n{text}"))
    }
}

impl HttpResponse {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("an response has a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status line");
        assert!(
            !head.to_ascii_lowercase().contains("transfer-encoding"),
            "an response of known length: {head}"
        );
        Self {
            status,
            body: bytes[end + 4..].to_vec(),
        }
    }
}
