//! The state directory of one mount.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use heirloom_protocol::Fingerprint;
use heirloom_support::disk_reserve::DiskReserve;
use rustix::fs::{FlockOperation, flock};

use super::dirs;
use super::error::ConfigError;
use super::login::Login;
use super::private_file::{self, failed};

/// Longest path of a Unix socket, in bytes: `sun_path` in unix(7) holds 108 with the final NUL.
const SOCKET_BYTES_MAX: usize = 107;

/// The directory with everything of one mount: spool, journal, log, control socket, login. Its
/// mode is 0700.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
    socket: PathBuf,
}

impl StateDir {
    /// Opens the directory; creates it if it is missing. Refuses a directory that belongs to another
    /// user or that others can write to.
    pub fn open(root: &Path) -> Result<Self, ConfigError> {
        private_file::claim_directory(root)?;
        // The daemon changes its working directory, so a relative path would not stay valid.
        let root = root.canonicalize().map_err(failed("find", root))?;
        let socket = socket_of(&root, dirs::runtime_home().as_deref())?;
        Ok(Self { root, socket })
    }

    /// The directory's absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory tree with the local files behind the mount.
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// The journal's database file.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.redb")
    }

    /// The daemon's log file.
    pub fn log(&self) -> PathBuf {
        self.root.join("heirloom.log")
    }

    /// The control socket. It is in this directory, or, if its path would be too long for a socket,
    /// in the user's runtime directory.
    pub fn control_socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Locks the directory for this process with flock(2); fails with `InUse` if another process
    /// holds the lock. Dropping the lock releases it.
    pub fn lock(&self) -> Result<StateLock, ConfigError> {
        let path = self.root.join("lock");
        let mut file = open_lock(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(ConfigError::InUse {
                    path: self.root.clone(),
                    holder: read_pid(&mut file),
                });
            }
            Err(source) => return Err(failed("lock", &path)(source.into())),
        }
        // A daemon that starts on a full disk is needed to free space there.
        DiskReserve::at(self.root.join("reserve")).adjust();
        write_pid(&mut file, std::process::id())
            .map_err(failed("write the process id to", &path))?;
        Ok(StateLock { _file: file })
    }

    /// The login that was saved last.
    pub fn saved_login(&self) -> Result<Option<Login>, ConfigError> {
        Login::load(&self.login())
    }

    /// Saves a login for the next start, as a whole and with mode 0600.
    pub fn save_login(&self, login: &Login) -> Result<(), ConfigError> {
        login.save(&self.login())
    }

    /// Deletes the saved login; succeeds if there is none.
    pub fn forget_login(&self) -> Result<(), ConfigError> {
        private_file::remove(&self.login())
    }

    /// The file with the trusted receipt key.
    pub(super) fn receipt_key(&self) -> PathBuf {
        self.root.join("receipt-key.json")
    }

    fn login(&self) -> PathBuf {
        self.root.join("login.json")
    }

    /// The default state directory of a mountpoint: `$XDG_STATE_HOME/heirloom/<escaped mountpoint>`.
    pub fn default_for(mountpoint: &Path) -> Result<PathBuf, ConfigError> {
        Ok(dirs::state_home()?.join(dirs::escaped(&dirs::resolve(mountpoint)?)))
    }
}

/// The lock of one process on a state directory; released when dropped, and by the kernel when the
/// process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

fn open_lock(path: &Path) -> Result<File, ConfigError> {
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    options.map_err(failed("open the lock", path))
}

/// The process id that the lock's holder wrote; `None` if it has not written it yet.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File, process: u32) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{process}")
}

fn socket_of(root: &Path, runtime: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let socket = root.join("control.sock");
    if fits(&socket) {
        return Ok(socket);
    }
    // Half of the SHA-256: enough that no two directories of one user share it, and short enough.
    let digits = Fingerprint::of(root.as_os_str().as_bytes()).to_string();
    let name = format!("{}.sock", &digits[..32]);
    let in_runtime = runtime
        .map(|runtime| runtime.join("heirloom"))
        .filter(|folder| fits(&folder.join(&name)));
    let folder = in_runtime.unwrap_or_else(|| {
        PathBuf::from(format!(
            "/tmp/heirloom-{}",
            rustix::process::geteuid().as_raw()
        ))
    });
    // In /tmp another user may have created it first: then it is refused.
    private_file::claim_directory(&folder)?;
    Ok(folder.join(name))
}

fn fits(socket: &Path) -> bool {
    socket.as_os_str().len() <= SOCKET_BYTES_MAX
}

#[cfg(test)]
mod tests;
