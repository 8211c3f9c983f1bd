//! The configuration: the data directory, and the administrator's settings.
//!
//! The directory holds every user's photos and the hashes of their tokens, so it belongs to one
//! account alone, with mode 0700. A directory that other accounts can read is restricted. One that
//! they can *write* to is rejected, because its content may not be ours.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heirloom_protocol::message::CrossUser;
use heirloom_support::disk_reserve::DiskReserve;

/// How long an interrupted upload waits for its next shard. A device that was away for the weekend
/// resumes where it stopped.
pub const UPLOAD_EXPIRY: Duration = Duration::from_hours(7 * 24);

/// How long the trash keeps a photo: long enough to notice a loss after a holiday.
pub const TRASH_EXPIRY: Duration = Duration::from_hours(30 * 24);

/// How long an unreferenced image is kept. A client that was just told that the server has the
/// image and has not added it to its library yet, or a user who restores a photo removed by
/// mistake, need not upload it again.
pub const UNREFERENCED_GRACE: Duration = Duration::from_hours(24);

/// How long an orphaned image, which the index does not know, is kept. A crash leaves a few, for
/// which a day would do; but to an index restored from an old copy every newer photo is unknown,
/// and the administrator needs time to notice.
pub const ORPHAN_GRACE: Duration = Duration::from_hours(30 * 24);

/// Directory mode: only the account that runs the server has access.
const PRIVATE: u32 = 0o700;

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: DataDir,
    /// Policy for images that another user already holds.
    pub cross_user: CrossUser,
    /// How long an interrupted upload waits for its next shard.
    pub upload_expiry: Duration,
    /// How long the trash keeps a photo.
    pub trash_expiry: Duration,
    /// How long unreferenced and orphaned images are kept.
    pub grace_periods: GracePeriods,
    /// Plain HTTP or TLS.
    pub transport: Transport,
    /// The rate limits.
    pub rates: RateLimits,
    /// When and how fast stored images are verified.
    pub scrub: ScrubSchedule,
}

/// The rate limits. An honest client stays far below all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Wrong passwords for one user name from one address: more than a person types, and at most
    /// 14,400 guesses a day.
    pub failed_logins_per_minute: u32,
    /// Requests without a valid token from one address. A device whose token was revoked tries once
    /// a minute.
    pub anonymous_per_second: u32,
    /// Checks by one token, of up to 1,000 images each. A client sends a few per second at most.
    pub checks_per_second: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            failed_logins_per_minute: 10,
            anonymous_per_second: 20,
            checks_per_second: 500,
        }
    }
}

/// When and how fast the scrubber verifies stored images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubSchedule {
    /// Maximum read rate in bytes per second.
    pub bytes_per_second: u64,
    /// Minimum time from the start of one round to the start of the next.
    pub interval: Duration,
}

impl Default for ScrubSchedule {
    /// 4 MB/s is a twentieth of what a slow disk can read, and takes three days for a terabyte.
    /// Disk errors develop over months.
    fn default() -> Self {
        Self {
            bytes_per_second: 4_000_000,
            interval: Duration::from_hours(30 * 24),
        }
    }
}

/// How long images that nobody refers to are kept before they are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracePeriods {
    /// For unreferenced images, from when the last reference was removed.
    pub unreferenced: Duration,
    /// For orphaned images, which the index does not know, from when they were stored.
    pub orphaned: Duration,
}

impl Default for GracePeriods {
    fn default() -> Self {
        Self {
            unreferenced: UNREFERENCED_GRACE,
            orphaned: ORPHAN_GRACE,
        }
    }
}

/// How connections are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP on loopback only, possibly behind a TLS proxy.
    #[default]
    PlainOnLoopback,
    /// Plain HTTP on any address, which the administrator allowed explicitly.
    PlainAnywhere,
    /// TLS.
    Tls(TlsFiles),
}

/// The PEM files of a TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by the intermediate certificates.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

impl Config {
    /// The default configuration.
    pub fn new(data: DataDir) -> Self {
        Self {
            data,
            cross_user: CrossUser::default(),
            upload_expiry: UPLOAD_EXPIRY,
            trash_expiry: TRASH_EXPIRY,
            grace_periods: GracePeriods::default(),
            transport: Transport::default(),
            rates: RateLimits::default(),
            scrub: ScrubSchedule::default(),
        }
    }
}

/// The directory that holds the index, the images and the unfinished uploads; mode 0700.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens the directory. Creates it and its subdirectories if they are missing.
    pub fn open(root: &Path) -> Result<Self, ConfigError> {
        create_dir(root)?;
        // Absolute, because a daemon may change its working directory.
        let root = root.canonicalize().map_err(|source| ConfigError::Inspect {
            path: root.to_owned(),
            source,
        })?;
        if root.to_str().is_none() {
            return Err(ConfigError::NotUtf8 { path: root });
        }
        restrict_access(&root)?;
        let data = Self { root };
        DiskReserve::at(data.root.join("reserve")).adjust();
        for folder in [data.images(), data.uploads(), data.quarantine()] {
            create_dir(&folder)?;
        }
        Ok(data)
    }

    /// The absolute path of the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The URL of the embedded index, `sqlite://...`.
    pub fn index_url(&self) -> String {
        let path = self.root.join("index.sqlite");
        let mut url = String::from("sqlite://");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(*byte));
                }
                _ => write!(url, "%{byte:02X}").expect("writing to a string cannot fail"),
            }
        }
        url
    }

    /// The directory of verified images: `images/ab/abcdef...`.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The directory of unfinished uploads.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The file of the key that signs receipts.
    pub fn receipt_key(&self) -> PathBuf {
        self.root.join("receipt.key")
    }

    /// The directory of damaged images, moved there by the scrubber.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A directory could not be created.
    #[error("cannot create the directory {path}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path exists but is not a directory.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The metadata of a directory could not be read.
    #[error("cannot access the directory {path}")]
    Inspect {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Other accounts can write to the data directory.
    #[error("other accounts can write to the data directory {path}")]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
    },
    /// The permissions of the data directory could not be restricted.
    #[error("cannot restrict the permissions of the data directory {path}")]
    Restrict {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path is not UTF-8, which SQLite requires.
    #[error("the path of the data directory is not valid UTF-8: {path:?}")]
    NotUtf8 {
        /// The directory.
        path: PathBuf,
    },
}

impl ConfigError {
    /// What the administrator can do about the error.
    pub fn next_step(&self) -> String {
        match self {
            Self::Create { path, .. } | Self::Inspect { path, .. } => {
                format!(
                    "check that this account may create and open {}, or choose another directory with --data",
                    path.display()
                )
            }
            Self::NotADirectory { .. } => "choose a directory with --data".to_owned(),
            Self::WritableByOthers { path } => {
                format!(
                    "check that it contains only files you know, then run: chmod 700 '{}'",
                    path.display()
                )
            }
            Self::Restrict { path, .. } => {
                format!(
                    "make the account that runs the server its owner: chown $USER '{}'",
                    path.display()
                )
            }
            Self::NotUtf8 { .. } => "choose a directory with a UTF-8 path with --data".to_owned(),
        }
    }
}

/// Creates a directory and its missing parents, durably.
fn create_dir(path: &Path) -> Result<(), ConfigError> {
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return Err(ConfigError::NotADirectory {
            path: path.to_owned(),
        });
    }
    let wrap = |source| ConfigError::Create {
        path: path.to_owned(),
        source,
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Ok(()) => fs::File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(wrap),
        // Another of our processes created it first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(wrap(error)),
    }
}

/// Removes all permissions of group and others. Rejects a directory that they could write to.
fn restrict_access(root: &Path) -> Result<(), ConfigError> {
    let metadata = fs::metadata(root).map_err(|source| ConfigError::Inspect {
        path: root.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(ConfigError::WritableByOthers {
            path: root.to_owned(),
        });
    }
    if mode & 0o077 != 0 {
        fs::set_permissions(root, Permissions::from_mode(PRIVATE)).map_err(|source| {
            ConfigError::Restrict {
                path: root.to_owned(),
                source,
            }
        })?;
        tracing::warn!(
            directory = %root.display(),
            "other accounts could read the data directory; restricted it to mode 0700"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_data_directory_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let data = DataDir::open(&parent.path().join("a/b")).unwrap();
        for folder in [
            data.root().to_owned(),
            data.images(),
            data.uploads(),
            data.quarantine(),
        ] {
            assert_eq!(mode(&folder), 0o700, "{folder:?}");
        }
        DataDir::open(data.root()).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_read_is_restricted() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        DataDir::open(root.path()).unwrap();
        assert_eq!(mode(root.path()), 0o700);
    }

    #[test]
    fn a_directory_that_others_can_write_is_rejected_with_the_next_step() {
        let root = tempfile::tempdir().unwrap();
        for open in [0o770, 0o702] {
            fs::set_permissions(root.path(), Permissions::from_mode(open)).unwrap();
            let error = DataDir::open(root.path()).unwrap_err();
            assert!(
                matches!(error, ConfigError::WritableByOthers { .. }),
                "{error}"
            );
            assert!(
                error.next_step().contains("chmod 700"),
                "{}",
                error.next_step()
            );
        }
    }

    #[test]
    fn a_file_is_rejected_as_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err();
        assert!(
            matches!(error, ConfigError::NotADirectory { .. }),
            "{error}"
        );
    }

    #[test]
    fn the_url_of_the_index_is_valid_for_odd_paths() {
        let parent = tempfile::tempdir().unwrap();
        let data = DataDir::open(&parent.path().join("Fotos & mehr? #1 100%")).unwrap();
        let url = data.index_url();
        assert!(
            url.ends_with("/Fotos%20%26%20mehr%3F%20%231%20100%25/index.sqlite"),
            "{url}"
        );
    }
}
