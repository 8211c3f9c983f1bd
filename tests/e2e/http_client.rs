//! Asks the server directly, past the client under test: what it holds and says is the truth that
//! the tests compare with.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use heirloom_protocol::message::{CheckImage, CheckedImage, LibraryFeed, LibraryPhoto};
use heirloom_protocol::{Fingerprint, RangeSet, route};
use serde::de::DeserializeOwned;

/// A server that says nothing for so long is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// An answer, as it came.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status line's number.
    pub status: u16,
    /// All that followed.
    pub body: Vec<u8>,
}

/// One user's view of the server.
#[derive(Clone, Debug)]
pub struct HttpClient {
    server: SocketAddr,
    token: String,
}

impl HttpClient {
    /// Asks the server at this address as the owner of this token.
    pub fn new(server: SocketAddr, token: &str) -> Self {
        Self {
            server,
            token: token.to_owned(),
        }
    }

    /// Sends one request on a connection of its own.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        let mut connection = TcpStream::connect(self.server).expect("the server accepts");
        connection
            .set_read_timeout(Some(ANSWER_WITHIN))
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
        let mut answer = Vec::new();
        connection
            .read_to_end(&mut answer)
            .expect("the server answers");
        HttpResponse::parse(&answer)
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> HttpResponse {
        self.ask("GET", path, &[], b"")
    }

    /// `GET` of a message.
    pub fn message<M: DeserializeOwned>(&self, path: &str) -> M {
        let answer = self.get(path);
        assert_eq!(
            answer.status,
            200,
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        serde_json::from_slice(&answer.body).expect("a message of the protocol")
    }

    /// `POST` of a JSON body.
    pub fn post(&self, path: &str, body: &[u8]) -> HttpResponse {
        self.ask("POST", path, &[("Content-Type", "application/json")], body)
    }

    /// An image's bytes, if this user holds it.
    pub fn image(&self, fingerprint: Fingerprint) -> Option<Vec<u8>> {
        let answer = self.get(&route::image(fingerprint));
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            other => panic!("GET of {fingerprint} answered {other}"),
        }
    }

    /// What of each of these images of so many bytes is durable at the server for this user, by its
    /// own word.
    pub fn arrived(&self, images: &[(Fingerprint, u64)]) -> BTreeMap<Fingerprint, RangeSet> {
        let ask = |(fingerprint, size): &(Fingerprint, u64)| CheckImage {
            fingerprint: *fingerprint,
            size: *size,
            proof: None,
        };
        let question: Vec<_> = images.iter().map(ask).collect();
        let answer = self.post(route::CHECK, &serde_json::to_vec(&question).expect("JSON"));
        let answer: Vec<CheckedImage> =
            serde_json::from_slice(&answer.body).expect("an answer to a check");
        let said = |image: CheckedImage| match image {
            CheckedImage::Owned { receipt } | CheckedImage::Linked { receipt } => {
                RangeSet::whole(receipt.size)
            }
            CheckedImage::Interrupted { received, .. } => received,
            CheckedImage::Absent { .. } => RangeSet::new(),
        };
        answer
            .into_iter()
            .map(|image| (image.fingerprint(), said(image)))
            .collect()
    }

    /// The user's library: what stands at each path.
    pub fn library(&self) -> BTreeMap<String, Fingerprint> {
        self.photos()
            .into_iter()
            .map(|(path, photo)| (path, photo.fingerprint))
            .collect()
    }

    /// The time that the library has for what stands at a path, in nanoseconds since the epoch.
    pub fn time_of(&self, path: &str) -> Option<i64> {
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

    /// A number from the server's metrics; fails if there is none of this name.
    pub fn metric(&self, name: &str) -> u64 {
        let answer = self.get(route::METRICS);
        let text = String::from_utf8(answer.body).expect("metrics are text");
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
            .expect("an answer has a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status line");
        assert!(
            !head.to_ascii_lowercase().contains("transfer-encoding"),
            "an answer of known length: {head}"
        );
        Self {
            status,
            body: bytes[end + 4..].to_vec(),
        }
    }
}
