//! Disks whose power can be cut: ext4 in an image file, and the image on XFS, where it can be
//! cloned at any moment.
//!
//! A clone (`ioctl_ficlone(2)`) has what a power cut leaves: everything written to the disk until
//! then, in whatever state. Creating and mounting disks needs root; other users need `sudo`.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

use crate::command::{CommandOutput, output_of};

/// Size of the file system that holds the images and their clones, which share most of their
/// blocks.
const POOL_BYTES: u64 = 8 << 30;

/// Size of one disk: what a test writes to it, and its journal.
const DISK_BYTES: u64 = 1 << 30;

/// The file system that holds disk images and their clones.
#[derive(Debug)]
pub struct DiskImages {
    mounted: Mounted,
}

/// A mounted disk. Dropping it unmounts it and frees its loop device; its image stays.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mounted: Mounted,
}

/// A disk that is soon full.
#[derive(Debug)]
pub struct SmallDisk {
    mounted: Mounted,
}

/// An image that a loop device keeps mounted until this is dropped.
#[derive(Debug)]
struct Mounted {
    at: PathBuf,
}

impl DiskImages {
    /// Creates the file system in `folder`.
    pub fn new(folder: &Path) -> Self {
        let image = folder.join("disk-images.xfs");
        make_image(&image, POOL_BYTES);
        as_root(
            "mkfs.xfs",
            &[
                Path::new("-q"),
                Path::new("-m"),
                Path::new("reflink=1"),
                &image,
            ],
        )
        .succeeds();
        Self {
            mounted: Mounted::new(&image, &folder.join("disk-images")),
        }
    }

    /// A new, empty disk.
    pub fn disk(&self, name: &str) -> Disk {
        let image = self.mounted.at.join(format!("{name}.ext4"));
        make_image(&image, DISK_BYTES);
        as_root("mkfs.ext4", &[Path::new("-q"), &image]).succeeds();
        Disk {
            mounted: Mounted::new(&image, &self.mounted.at.join(name)),
            image,
        }
    }

    /// The disk as it would be after a power cut now: cloned, and mounted, which replays its
    /// journal.
    pub fn clone_now(&self, disk: &Disk, name: &str) -> Disk {
        let image = self.mounted.at.join(format!("{name}.ext4"));
        let (from, to) = (
            File::open(&disk.image).expect("an image"),
            File::create(&image).expect("room for a clone"),
        );
        rustix::fs::ioctl_ficlone(&to, &from).expect("XFS clones files");
        Disk {
            mounted: Mounted::new(&image, &self.mounted.at.join(name)),
            image,
        }
    }
}

impl Disk {
    /// Its mountpoint.
    pub fn folder(&self) -> &Path {
        &self.mounted.at
    }

    /// Unmounts it and deletes its image.
    pub fn discard(self) {
        let Self { image, mounted } = self;
        drop(mounted);
        fs::remove_file(image).expect("our own image");
    }
}

impl SmallDisk {
    /// A disk of `bytes` bytes, mounted at `place`, in the image file `image`.
    pub fn new(image: &Path, place: &Path, bytes: u64) -> Self {
        make_image(image, bytes);
        // Without blocks reserved for root: full is full.
        as_root(
            "mkfs.ext4",
            &[Path::new("-q"), Path::new("-m"), Path::new("0"), image],
        )
        .succeeds();
        let mounted = Mounted::new(image, place);
        fs::set_permissions(place, fs::Permissions::from_mode(0o700)).expect("our own folder");
        Self { mounted }
    }

    /// Fills the disk; it has free space again when the returned file is removed.
    pub fn fill(&self) -> PathBuf {
        let filler = self.mounted.at.join("filler");
        let mut file = File::create(&filler).expect("a name takes no room");
        for bytes in [1 << 20, 4 << 10] {
            let piece = vec![0_u8; bytes];
            while file.write_all(&piece).is_ok() {}
        }
        // Full on the disk, not only in the page cache.
        let synced = file.sync_all();
        println!("the small disk is full: {synced:?}");
        filler
    }
}

impl Mounted {
    fn new(image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).expect("a mountpoint");
        as_root("mount", &[Path::new("-o"), Path::new("loop"), image, at]).succeeds();
        let mounted = Self { at: at.to_owned() };
        let owner = format!("{}", geteuid().as_raw());
        as_root("chown", &[Path::new(&owner), at]).succeeds();
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily if it is still in use: the loop device is freed after the last user.
        if as_root("umount", &[&self.at]).code != 0 {
            println!("{}", as_root("umount", &[Path::new("-l"), &self.at]));
        }
    }
}

fn make_image(image: &Path, bytes: u64) {
    File::create(image)
        .and_then(|file| file.set_len(bytes))
        .expect("room for an image");
}

fn as_root(program: &str, arguments: &[&Path]) -> CommandOutput {
    let mut command = if geteuid().is_root() {
        Command::new("env")
    } else {
        Command::new("sudo")
    };
    if !geteuid().is_root() {
        command.arg("--non-interactive");
    }
    // mkfs is in /usr/sbin, which is not on every user's PATH.
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    output_of({
        command.env("PATH", path).arg(program).args(arguments);
        command
    })
}
