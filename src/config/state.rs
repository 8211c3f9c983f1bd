//! The state directory: everything of one mount.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use heirloom_protocol::Fingerprint;
use heirloom_support::disk_reserve::DiskReserve;
use rustix::fs::{FlockOperation, flock};

use super::private_file::{self, failed};
use super::{ConfigError, Login, dirs};

/// Longest path of a Unix socket, in bytes: `sun_path` of unix(7) has 108, the last one for NUL.
const SOCKET_BYTES_MAX: usize = 107;

/// The directory with everything of one mount: spool, journal, log, control socket, login. Mode
/// 0700.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
    socket: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it if it is missing. Refuses one that is somebody else's, or
    /// that others may write.
    pub fn open(root: &Path) -> Result<Self, ConfigError> {
        private_file::claim_directory(root)?;
        // A daemon does not stay in the directory it was started from.
        let root = root.canonicalize().map_err(failed("find", root))?;
        let socket = socket_of(&root, dirs::runtime_home().as_deref())?;
        Ok(Self { root, socket })
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ordinary directory tree behind the mount.
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.redb")
    }

    /// What the daemon has to say.
    pub fn log(&self) -> PathBuf {
        self.root.join("heirloom.log")
    }

    /// Where the daemon listens for the command line. Short enough for a socket: where the
    /// directory's own path is too long, it is in the user's runtime directory.
    pub fn control_socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Claims the directory for this process (flock); `InUse` with the holder's process id
    /// otherwise. Released on drop.
    pub fn lock(&self) -> Result<StateLock, ConfigError> {
        let path = self.root.join("lock");
        let mut file = open_lock(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(ConfigError::InUse {
                    path: self.root.clone(),
                    holder: said_in(&mut file),
                });
            }
            Err(source) => return Err(failed("lock", &path)(source.into())),
        }
        // Who starts with a full disk is there to make room on it.
        DiskReserve::at(self.root.join("reserve")).adjust();
        say(&mut file, std::process::id()).map_err(failed("write the process id to", &path))?;
        Ok(StateLock { _file: file })
    }

    /// What was saved by the last successful login.
    pub fn saved_login(&self) -> Result<Option<Login>, ConfigError> {
        Login::load(&self.login())
    }

    /// Saves a login for the next start; mode 0600, never half-written.
    pub fn save_login(&self, login: &Login) -> Result<(), ConfigError> {
        login.save(&self.login())
    }

    /// Forgets the saved login; fine if there is none.
    pub fn forget_login(&self) -> Result<(), ConfigError> {
        private_file::remove(&self.login())
    }

    /// What the server's receipts were signed with at first sight.
    pub(super) fn receipt_key(&self) -> PathBuf {
        self.root.join("receipt-key.json")
    }

    fn login(&self) -> PathBuf {
        self.root.join("login.json")
    }

    /// Default state directory of a mountpoint: `$XDG_STATE_HOME/heirloom/<mountpoint escaped>`.
    pub fn default_for(mountpoint: &Path) -> Result<PathBuf, ConfigError> {
        Ok(dirs::state_home()?.join(dirs::escaped(&dirs::resolve(mountpoint)?)))
    }
}

/// The claim of one process on a state directory; released when dropped, and by the kernel when the
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

/// The process id that the holder wrote; none if it has not come to it yet.
fn said_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn say(file: &mut File, process: u32) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{process}")
}

fn socket_of(root: &Path, runtime: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let beside = root.join("control.sock");
    if fits(&beside) {
        return Ok(beside);
    }
    // Half of the SHA-256: two of one user's directories will not share it, and it leaves room for
    // the rest.
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
    // In /tmp somebody else may have made it first: then it is refused, not trusted.
    private_file::claim_directory(&folder)?;
    Ok(folder.join(name))
}

fn fits(socket: &Path) -> bool {
    socket.as_os_str().len() <= SOCKET_BYTES_MAX
}

#[cfg(test)]
mod tests;
