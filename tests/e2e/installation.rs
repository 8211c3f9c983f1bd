//! A complete installation for one test: a folder, a server, users and their devices. The folder
//! and all processes are gone after the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use heirloom_protocol::Fingerprint;
use tempfile::TempDir;

use crate::device::{Device, fingerprints_below};
use crate::http_client::HttpClient;
use crate::link::Link;
use crate::photo_generator::PhotoGenerator;
use crate::server::Server;

/// A running server, and the folder that holds everything of the test.
///
/// Devices are made from it and dropped before it; a failed test leaves nothing running either.
#[derive(Debug)]
pub struct Installation {
    /// The server process.
    pub server: Server,
    /// Makes the photos of this test.
    pub generator: PhotoGenerator,
    folder: TempDir,
}

/// A user with an account on the server.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    /// The token of all their devices.
    pub token: String,
}

impl User {
    /// A user who already has an account.
    pub fn new(name: &str, token: &str) -> Self {
        Self {
            name: name.to_owned(),
            token: token.to_owned(),
        }
    }
}

impl Installation {
    /// An installation with an empty server.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("heirloom-")
            .tempdir()
            .expect("a temporary folder");
        let server = Server::start(folder.path());
        Self {
            server,
            generator: PhotoGenerator::new(1),
            folder,
        }
    }

    /// Adds a user to the server.
    pub fn user(&self, name: &str) -> User {
        User::new(name, &self.server.add_user(name))
    }

    /// The first device of a new user, mounted.
    pub fn device_of_new_user(&self, name: &str) -> Device {
        let user = self.user(name);
        self.device(&user, name)
    }

    /// A device of this user, mounted; `name` tells their devices apart.
    pub fn device(&self, user: &User, name: &str) -> Device {
        let mut device = self.unmounted_device(user, name);
        device.mount();
        device
    }

    /// A device of this user, not mounted yet.
    pub fn unmounted_device(&self, user: &User, name: &str) -> Device {
        self.device_at_address(user, name, self.server.address())
    }

    /// A device that reaches the server over a link, not mounted yet.
    pub fn device_over_link(&self, user: &User, name: &str, link: &Link) -> Device {
        self.device_at_address(user, name, link.address())
    }

    /// A device that keeps everything in `folder`, not mounted yet.
    pub fn device_in_folder(&self, user: &User, name: &str, folder: &Path) -> Device {
        let server = format!("http://{}", self.server.address());
        Device::new(
            &format!("{}'s device {name}", user.name),
            folder.to_owned(),
            &server,
            &user.token,
        )
    }

    /// A device that connects to the server at this address, not mounted yet.
    pub fn device_at_address(&self, user: &User, name: &str, address: SocketAddr) -> Device {
        Device::new(
            &format!("{}'s device {name}", user.name),
            self.folder.path().join(name),
            &format!("http://{address}"),
            &user.token,
        )
    }

    /// A network link to the server.
    pub fn link(&self) -> Link {
        Link::to(self.server.address())
    }

    /// A folder outside every mount, created on first use.
    pub fn scratch_folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join("scratch").join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// Generates a photo of `bytes` bytes in the scratch folder `camera`.
    pub fn photo(&mut self, name: &str, bytes: usize) -> (PathBuf, Fingerprint) {
        let file = self.scratch_folder("camera").join(name);
        let photo = self.generator.generate_file(&file, bytes).expect("a file");
        (file, Fingerprint::of(&photo))
    }

    /// An HTTP client with this user's token.
    pub fn client(&self, user: &User) -> HttpClient {
        HttpClient::new(self.server.address(), &user.token)
    }

    /// Asserts that the server stores every file below `folder`, and that the part of this user's
    /// library whose paths start with `prefix` lists exactly these files.
    #[track_caller]
    pub fn assert_backed_up(&self, folder: &Path, user: &User, prefix: &str) {
        let images = self.server.images();
        let expected: Vec<_> = fingerprints_below(folder)
            .into_iter()
            .map(|(path, image)| (format!("{prefix}{path}"), image))
            .collect();
        let missing: Vec<_> = expected
            .iter()
            .filter(|(_, image)| !images.contains_key(image))
            .collect();
        assert!(missing.is_empty(), "the server has no bytes of {missing:?}");
        let library = self.client(user).library();
        let listed: Vec<_> = library
            .into_iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .collect();
        assert_eq!(
            listed, expected,
            "the library lists exactly what was copied"
        );
    }
}
