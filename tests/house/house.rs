//! A whole house for one test: a folder, a server, people and their devices. All of it is gone
//! after the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use heirloom_protocol::Fingerprint;
use tempfile::TempDir;

use crate::ask::Asker;
use crate::device::{Device, fingerprints_below};
use crate::link::Link;
use crate::photo::Camera;
use crate::server::Server;

/// A server that runs, and the folder in which everything of the test lies.
///
/// Devices are made from it and dropped before it; a failed test leaves nothing running either.
#[derive(Debug)]
pub struct House {
    /// The server process.
    pub server: Server,
    /// Takes the photos of this test.
    pub camera: Camera,
    folder: TempDir,
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub struct Person {
    name: String,
    /// The token of all their devices.
    pub token: String,
}

impl Person {
    /// Somebody who has an account already.
    pub fn new(name: &str, token: &str) -> Self {
        Self {
            name: name.to_owned(),
            token: token.to_owned(),
        }
    }
}

impl House {
    /// A house with an empty server.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("heirloom-")
            .tempdir()
            .expect("a temporary folder");
        let server = Server::start(folder.path());
        Self {
            server,
            camera: Camera::new(1),
            folder,
        }
    }

    /// Adds somebody to the server.
    pub fn person(&self, name: &str) -> Person {
        Person::new(name, &self.server.add_user(name))
    }

    /// A new person's first device, mounted.
    pub fn device_of(&self, name: &str) -> Device {
        let person = self.person(name);
        self.device(&person, name)
    }

    /// A device of this person, mounted; `name` says which of them.
    pub fn device(&self, person: &Person, name: &str) -> Device {
        let mut device = self.unmounted(person, name);
        device.mount();
        device
    }

    /// The same, not mounted yet.
    pub fn unmounted(&self, person: &Person, name: &str) -> Device {
        self.device_at(person, name, &format!("http://{}", self.server.address()))
    }

    /// A device behind a link, not mounted yet.
    pub fn linked(&self, person: &Person, name: &str, link: &Link) -> Device {
        self.device_at(person, name, &format!("http://{}", link.address()))
    }

    /// A device that keeps everything in this folder, not mounted yet.
    pub fn device_in(&self, person: &Person, name: &str, folder: &Path) -> Device {
        let server = format!("http://{}", self.server.address());
        Device::new(
            &format!("{}'s device {name}", person.name),
            folder.to_owned(),
            &server,
            &person.token,
        )
    }

    /// A device that finds the server at this address, not mounted yet.
    pub fn device_behind(&self, person: &Person, name: &str, address: SocketAddr) -> Device {
        self.device_at(person, name, &format!("http://{address}"))
    }

    /// A device that speaks to another server than the house's, not mounted yet.
    pub fn device_of_server(&self, person: &Person, name: &str, server: &Server) -> Device {
        self.device_at(person, name, &format!("http://{}", server.address()))
    }

    fn device_at(&self, person: &Person, name: &str, server: &str) -> Device {
        Device::new(
            &format!("{}'s device {name}", person.name),
            self.folder.path().join(name),
            server,
            &person.token,
        )
    }

    /// A link to the server.
    pub fn link(&self) -> Link {
        Link::to(self.server.address())
    }

    /// A folder outside every mount, made when first asked for: where photos come from.
    pub fn shelf(&self, name: &str) -> PathBuf {
        let place = self.folder.path().join("shelves").join(name);
        std::fs::create_dir_all(&place).expect("a folder");
        place
    }

    /// Takes a photo of so many bytes to a file outside every mount.
    pub fn photo(&mut self, name: &str, bytes: usize) -> (PathBuf, Fingerprint) {
        let file = self.shelf("camera").join(name);
        let photo = self.camera.take_to(&file, bytes).expect("a file");
        (file, Fingerprint::of(&photo))
    }

    /// Asks the server what it says to this person.
    pub fn ask(&self, person: &Person) -> Asker {
        Asker::new(self.server.address(), &person.token)
    }

    /// Every file below `folder` is whole on the server, and this person's library lists it below
    /// `at`, and nothing else there.
    #[track_caller]
    pub fn keeps_all_of(&self, folder: &Path, person: &Person, at: &str) {
        let images = self.server.images();
        let wanted: Vec<_> = fingerprints_below(folder)
            .into_iter()
            .map(|(path, image)| (format!("{at}{path}"), image))
            .collect();
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(_, image)| !images.contains_key(image))
            .collect();
        assert!(missing.is_empty(), "the server has no bytes of {missing:?}");
        let library = self.ask(person).library();
        let listed: Vec<_> = library
            .into_iter()
            .filter(|(path, _)| path.starts_with(at))
            .collect();
        assert_eq!(
            listed, wanted,
            "the library lists what was copied, no more and no less"
        );
    }
}
