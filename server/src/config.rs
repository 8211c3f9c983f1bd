//! The data directory, and what the administrator decided.
//!
//! The directory holds every user's photos and the hashes of their tokens, so it belongs to one
//! account alone: mode
//! 0700. One that others may read is closed to them; one that others may *write* is refused,
//!       because what stands in it
//! by now need not be ours.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heirloom_protocol::message::CrossUser;
use heirloom_support::disk_reserve::DiskReserve;

/// How long an interrupted upload waits for its next shard: a device that was away for the weekend
/// goes on where it stopped.
pub const UPLOAD_EXPIRY: Duration = Duration::from_hours(7 * 24);

/// How long the trash keeps a photo: long enough to come back from a holiday and notice.
pub const TRASH_EXPIRY: Duration = Duration::from_hours(30 * 24);

/// How long an image stays that nobody refers to any more: whoever was told just now that it is
/// here, and has yet to say what for, and whoever removed it by mistake and puts it back, need not
/// send it again.
pub const RELEASED_GRACE: Duration = Duration::from_hours(24);

/// How long bytes stay that the index does not know. A crash leaves some, which would be gone in a
/// day; but to an index that was restored from an old copy every newer photo is unknown, and
/// somebody must have the time to notice.
pub const STRAY_GRACE: Duration = Duration::from_hours(30 * 24);

/// Only the account that runs the server may look in.
const PRIVATE: u32 = 0o700;

/// What the administrator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub data: DataDir,
    /// Policy for images that another user holds.
    pub cross_user: CrossUser,
    /// How long an interrupted upload waits for its next shard.
    pub upload_expiry: Duration,
    /// How long the trash keeps a photo.
    pub trash_expiry: Duration,
    /// How long images stay that nobody refers to.
    pub graces: Graces,
    /// What is between us and those who listen on the way.
    pub transport: Transport,
    /// How often each may ask.
    pub rates: RateLimits,
    /// How stored images are looked through for damage.
    pub scrub: ScrubPlan,
}

/// How often each may ask. An honest client is far below all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Wrong passwords for one name from one address: more than a person types, and 14,400 guesses
    /// a day against a password that no list of common ones should have.
    pub failed_logins_per_minute: u32,
    /// Requests without a good token from one address: a device whose token was taken away asks
    /// once a minute.
    pub strangers_per_second: u32,
    /// Checks by one token, of up to 1,000 images each: a client asks a few times a second at most.
    pub checks_per_second: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            failed_logins_per_minute: 10,
            strangers_per_second: 20,
            checks_per_second: 500,
        }
    }
}

/// How stored images are looked through for damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPlan {
    /// Bytes read in a second, at most.
    pub bytes_per_second: u64,
    /// From the beginning of one round to the beginning of the next, at least.
    pub every: Duration,
}

impl Default for ScrubPlan {
    /// 4 MB/s are a twentieth of what a slow disk reads, and a terabyte in three days. A disk's
    /// errors grow over months.
    fn default() -> Self {
        Self {
            bytes_per_second: 4_000_000,
            every: Duration::from_hours(30 * 24),
        }
    }
}

/// How long images stay that nobody refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graces {
    /// Those that were let go of, from then on.
    pub released: Duration,
    /// Bytes that the index does not know, from when they were put there.
    pub stray: Duration,
}

impl Default for Graces {
    fn default() -> Self {
        Self {
            released: RELEASED_GRACE,
            stray: STRAY_GRACE,
        }
    }
}

/// What is between us and those who listen on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Nothing; so only on loopback, where nobody else listens. A TLS proxy may stand in front.
    #[default]
    PlainOnLoopback,
    /// Nothing, on any address: the administrator said that this is what they want.
    PlainAnywhere,
    /// TLS.
    Tls(TlsFiles),
}

/// Two files of PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Config {
    /// What holds where the administrator said nothing.
    pub fn new(data: DataDir) -> Self {
        Self {
            data,
            cross_user: CrossUser::default(),
            upload_expiry: UPLOAD_EXPIRY,
            trash_expiry: TRASH_EXPIRY,
            graces: Graces::default(),
            transport: Transport::default(),
            rates: RateLimits::default(),
            scrub: ScrubPlan::default(),
        }
    }
}

/// The directory that holds index, images and unfinished uploads; mode 0700.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens the directory, making it and its folders if they are missing.
    pub fn open(root: &Path) -> Result<Self, ConfigError> {
        make(root)?;
        // An absolute path: the server may change its working directory when it becomes a daemon.
        let root = root.canonicalize().map_err(|source| ConfigError::Inspect {
            path: root.to_owned(),
            source,
        })?;
        if root.to_str().is_none() {
            return Err(ConfigError::NotUtf8 { path: root });
        }
        close_to_others(&root)?;
        let data = Self { root };
        DiskReserve::at(data.root.join("reserve")).adjust();
        for folder in [data.images(), data.uploads(), data.quarantine()] {
            make(&folder)?;
        }
        Ok(data)
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `sqlite://...` of the embedded index.
    pub fn index_url(&self) -> String {
        let path = self.root.join("index.sqlite");
        let mut url = String::from("sqlite://");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(*byte));
                }
                _ => write!(url, "%{byte:02X}").expect("a string takes all that is written to it"),
            }
        }
        url
    }

    /// Verified images: `images/ab/abcdef...`.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Unfinished uploads.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The secret that receipts are signed with.
    pub fn receipt_key(&self) -> PathBuf {
        self.root.join("receipt.key")
    }

    /// Images found damaged.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

/// What can be wrong with the data directory.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A folder could not be made.
    #[error("make the folder {path}")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else stands where the folder should be.
    #[error("{path} is not a folder")]
    NotAFolder {
        /// Where.
        path: PathBuf,
    },
    /// A folder could not be looked at.
    #[error("look at the folder {path}")]
    Inspect {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Other accounts can put files into the data directory.
    #[error("other accounts may write to the data directory {path}")]
    WritableByOthers {
        /// Which.
        path: PathBuf,
    },
    /// The data directory could not be closed to other accounts.
    #[error("close the data directory {path} to other accounts")]
    Close {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// SQLite and its URL take paths of UTF-8 only.
    #[error("the path of the data directory {path:?} is not UTF-8")]
    NotUtf8 {
        /// Which.
        path: PathBuf,
    },
}

impl ConfigError {
    /// What the administrator can do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::Make { path, .. } | Self::Inspect { path, .. } => {
                format!(
                    "check that this account may make and open {}, or name another folder with --data",
                    path.display()
                )
            }
            Self::NotAFolder { .. } => "name a folder with --data".to_owned(),
            Self::WritableByOthers { path } => {
                format!(
                    "look for files that are not yours in it, then: chmod 700 '{}'",
                    path.display()
                )
            }
            Self::Close { path, .. } => {
                format!(
                    "make it belong to the account that runs the server: chown $USER '{}'",
                    path.display()
                )
            }
            Self::NotUtf8 { .. } => "name a folder with a path of UTF-8 with --data".to_owned(),
        }
    }
}

/// Makes a folder and those above it that are missing, and their names durable.
fn make(path: &Path) -> Result<(), ConfigError> {
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return Err(ConfigError::NotAFolder {
            path: path.to_owned(),
        });
    }
    let wrap = |source| ConfigError::Make {
        path: path.to_owned(),
        source,
    };
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make(above)?;
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Ok(()) => fs::File::open(above)
            .and_then(|above| above.sync_all())
            .map_err(wrap),
        // Another process of ours was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(wrap(error)),
    }
}

/// Takes every right from group and others; refuses where they could write until now.
fn close_to_others(root: &Path) -> Result<(), ConfigError> {
    let found = fs::metadata(root).map_err(|source| ConfigError::Inspect {
        path: root.to_owned(),
        source,
    })?;
    let mode = found.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(ConfigError::WritableByOthers {
            path: root.to_owned(),
        });
    }
    if mode & 0o077 != 0 {
        fs::set_permissions(root, Permissions::from_mode(PRIVATE)).map_err(|source| {
            ConfigError::Close {
                path: root.to_owned(),
                source,
            }
        })?;
        tracing::warn!(folder = %root.display(), "other accounts could read the data directory; closed it to them");
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
    fn the_data_directory_is_made_for_one_account_alone() {
        let above = tempfile::tempdir().unwrap();
        let data = DataDir::open(&above.path().join("a/b")).unwrap();
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
    fn a_directory_that_others_can_read_is_closed_to_them() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        DataDir::open(root.path()).unwrap();
        assert_eq!(mode(root.path()), 0o700);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_with_the_next_step() {
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
    fn a_file_is_not_taken_for_the_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err();
        assert!(matches!(error, ConfigError::NotAFolder { .. }), "{error}");
    }

    #[test]
    fn the_url_of_the_index_survives_odd_paths() {
        let above = tempfile::tempdir().unwrap();
        let data = DataDir::open(&above.path().join("Fotos & mehr? #1 100%")).unwrap();
        let url = data.index_url();
        assert!(
            url.ends_with("/Fotos%20%26%20mehr%3F%20%231%20100%25/index.sqlite"),
            "{url}"
        );
    }
}
