//! Logins: the address of a server and a token for it.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use heirloom_support::loopback::is_loopback_host;
use hyper::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::ConfigError;
use super::private_file::{self, failed};

/// The version of `login.json` that this program writes.
const VERSION: u32 = 1;

/// The address of a server and a token for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The server's address.
    pub server: ServerUrl,
    /// The token that identifies this device to the server.
    pub token: Token,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The content of `login.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLogin {
    version: u32,
    server: ServerUrl,
    token: String,
    ca_file: Option<PathBuf>,
}

impl Login {
    pub(super) fn load(path: &Path) -> Result<Option<Self>, ConfigError> {
        let Some(stored) = private_file::read_json::<StoredLogin>(path)? else {
            return Ok(None);
        };
        if stored.version != VERSION {
            return Err(ConfigError::Version {
                path: path.to_owned(),
                version: stored.version,
            });
        }
        let token = stored.token.parse();
        let token = token.map_err(|source| ConfigError::Token {
            path: path.to_owned(),
            source,
        })?;
        Ok(Some(Self {
            server: stored.server,
            token,
            ca_file: stored.ca_file,
        }))
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let Self {
            server,
            token,
            ca_file,
        } = self.clone();
        private_file::write_json(
            path,
            &StoredLogin {
                version: VERSION,
                server,
                token: token.0,
                ca_file,
            },
        )
    }
}

/// The address of a server: `http://host[:port]` or `https://host[:port]` without a path. Checked
/// on construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Uri);

/// The text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the server as https://HOST:PORT or http://HOST:PORT, without a path")]
pub struct ServerUrlError;

impl ServerUrl {
    /// The address as a URI with the path `/`.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// The address of a server on this machine, without TLS.
    pub fn on_this_machine(address: SocketAddr) -> Self {
        format!("http://{address}").parse().expect(
            "an address is a host and a port, and the port of a listening socket is never 0",
        )
    }

    /// Whether others could read what is sent: no TLS, and not to this machine.
    pub fn is_unencrypted(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        self.scheme() == "http" && !is_loopback_host(host)
    }

    fn authority(&self) -> &str {
        self.0
            .authority()
            .expect("checked on construction")
            .as_str()
    }

    fn scheme(&self) -> &str {
        self.0.scheme_str().expect("checked on construction")
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let uri: Uri = text.parse().map_err(|_| ServerUrlError)?;
        let authority = uri.authority().ok_or(ServerUrlError)?;
        let scheme_fits = matches!(uri.scheme_str(), Some("http" | "https"));
        // A user name and password in the address would end up in logs.
        let has_only_host = !authority.host().is_empty() && !authority.as_str().contains('@');
        let port_fits = match authority.port() {
            Some(port) => port.as_u16() != 0,
            None => {
                !authority.as_str().ends_with(':')
                    && !authority.as_str()[authority.host().len()..].contains(':')
            }
        };
        let has_no_path = uri.path() == "/" && uri.query().is_none() && !text.contains(['#', '?']);
        if scheme_fits && has_only_host && port_fits && has_no_path {
            Ok(Self(uri))
        } else {
            Err(ServerUrlError)
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme(), self.authority())
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A device's access token. `Debug` prints no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The text is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token is one line of 1 to {} visible ASCII characters",
    Token::BYTES_MAX
)]
pub struct TokenError;

impl Token {
    /// Longest accepted token, in bytes: longer than any that a server issues, short enough for a
    /// header.
    pub const BYTES_MAX: usize = 512;

    /// The token as text, for the `Authorization` header.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads the first line of a token file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let open = File::open(file).map_err(failed("open the token file", file))?;
        let mut line = Vec::new();
        // Limited, so that a device or a huge file given by mistake is not read to its end.
        let limit = Self::BYTES_MAX as u64 + 2;
        let read = BufReader::new(open.take(limit)).read_until(b'\n', &mut line);
        read.map_err(failed("read the token file", file))?;
        let token = str::from_utf8(&line)
            .map_err(|_| TokenError)
            .and_then(|line| line.trim_ascii_end().parse());
        token.map_err(|source| ConfigError::Token {
            path: file.to_owned(),
            source,
        })
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        // The characters of a header value without quoting (RFC 9110, 5.5), except space.
        let fits = !text.is_empty()
            && text.len() <= Self::BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError)
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// Fuzz target: parses arbitrary bytes as the address of a server (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let Ok(server) = text.parse::<ServerUrl>() else {
        return;
    };
    let again: ServerUrl = server
        .to_string()
        .parse()
        .expect("a printed address parses");
    assert_eq!(
        (&again, again.is_unencrypted()),
        (&server, server.is_unencrypted())
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_corpus_of_addresses_passes() {
        heirloom_fuzz::replay("addresses", fuzz);
    }

    #[test]
    fn a_server_address_keeps_its_text() {
        for url in [
            "http://127.0.0.1:8420",
            "https://photos.example",
            "https://[::1]:8443",
            "http://localhost:80",
        ] {
            let server: ServerUrl = url.parse().unwrap();
            assert_eq!(server.to_string(), url);
            assert_eq!(serde_json::to_string(&server).unwrap(), format!("{url:?}"));
        }
        assert_eq!(
            "https://photos.example/"
                .parse::<ServerUrl>()
                .unwrap()
                .to_string(),
            "https://photos.example"
        );
    }

    #[test]
    fn a_server_on_another_machine_without_tls_is_unencrypted() {
        for (url, unencrypted) in [
            ("http://127.0.0.1:8420", false),
            ("http://[::1]:8420", false),
            ("http://localhost", false),
            ("https://photos.example", false),
            ("http://photos.example", true),
            ("http://192.0.2.1:8420", true),
            ("http://localhost.example", true),
        ] {
            assert_eq!(
                url.parse::<ServerUrl>().unwrap().is_unencrypted(),
                unencrypted,
                "{url}"
            );
        }
    }

    #[test]
    fn text_that_is_not_a_server_address_is_refused() {
        for url in [
            "",
            "photos.example",
            "photos.example:80",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a/photos",
            "http://a?b",
            "http://a/?",
            "http://a/#b",
            "http://me:secret@a",
            "http://a:",
            "http://a:0",
            "http://a:99999",
            "http://a b",
            "//a",
            "http:a",
        ] {
            assert_eq!(url.parse::<ServerUrl>(), Err(ServerUrlError), "{url:?}");
        }
    }

    #[test]
    fn a_token_is_the_first_line_of_its_file_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let longest = "t".repeat(Token::BYTES_MAX);
        for (content, token) in [
            ("abc\n", "abc"),
            ("abc", "abc"),
            ("abc\r\nnext\n", "abc"),
            (&longest, &longest),
        ] {
            std::fs::write(&file, content).unwrap();
            let read = Token::read(&file).unwrap();
            assert_eq!(read.reveal(), token);
            assert_eq!(format!("{read:?}"), "Token(..)");
        }
        for content in [
            "",
            "\n",
            "a b",
            "ä",
            "a\0b",
            &"t".repeat(Token::BYTES_MAX + 1),
        ] {
            std::fs::write(&file, content).unwrap();
            assert!(
                matches!(Token::read(&file), Err(ConfigError::Token { .. })),
                "{content:?}"
            );
        }
    }
}
