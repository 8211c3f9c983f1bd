//! The write state: an extended attribute of a spooled file whose bytes may be incomplete, or not
//! durable yet.
//!
//! If the process is killed or the power fails during a copy, half a photo is left, and its bytes
//! do not tell for certain. So a file has a write state from its opening for writing until its
//! bytes are known to be durable. If a later start finds an unfinished file, it is reported to its
//! owner, and never backed up as if it were complete.
//!
//! A power cut also loses bytes of closed files that were not synced yet. So the state names the
//! boot of the machine: a file closed in this boot is complete, because the page cache has
//! survived.
//!
//! With passthrough the kernel writes to the file without this process, whose end does not stop a
//! program that is copying, and which does not see the close. Such a file is marked *live* once, at
//! its opening. It is complete when no process can write to it any more. The mount does not know of
//! a mapping that outlives its descriptor, nor of a program that outlives the mount's process: the
//! kernel is asked (`open_writers`).

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::attributes::{remove_xattr, set_xattr, xattr};
use super::open_writers::{WriterProbe, probe_writers};

/// Name of the attribute. Its value is `1 open BOOT`, `1 closed BOOT` or `1 live BOOT PROCESS`; the
/// 1 is its version. The longest, with its name, just fits into an inode of ext4 (256 bytes, 96 of
/// them for attributes); a longer one would cost every file a block of its own.
const NAME: &str = "user.heirloom.mark";

/// Id of this boot of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads and writes the write state of files, for one process and boot.
#[derive(Clone, Debug)]
pub struct WriteStateMarker {
    boot: Arc<str>,
    /// Random id of this process among those of this boot: 8 hexadecimal digits.
    process: Arc<str>,
}

/// What the write state says about the completeness of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteState {
    /// All bytes are there.
    Complete,
    /// Its writer never closed it.
    Unfinished,
    /// The machine stopped before its bytes were synced.
    Unsynced,
    /// A program that outlived the mount's process still has it open for writing.
    InUse,
    /// A program has it mapped through this process's mount, and may still write.
    Mapped,
}

impl WriteStateMarker {
    /// A marker for this boot of the machine and a new process id. Clones share the id.
    pub fn of_this_boot() -> io::Result<Self> {
        let boot = std::fs::read_to_string(BOOT_ID)?.trim().into();
        Ok(Self {
            boot,
            process: format!("{:08x}", fastrand::u32(..)).into(),
        })
    }

    /// Records that a file is being opened for writing.
    pub fn mark_open(&self, file: &File) -> io::Result<()> {
        Self::mark(file, &self.text("open"))
    }

    /// Records that a file is being opened for writing through the kernel (passthrough).
    pub fn mark_open_passthrough(&self, file: &File) -> io::Result<()> {
        Self::mark(file, &self.live())
    }

    /// Records that all writers have closed the file.
    pub fn mark_closed(&self, file: &File) -> io::Result<()> {
        Self::mark(file, &self.text("closed"))
    }

    /// Removes the state: the bytes are durable.
    pub fn clear(&self, file: &File) -> io::Result<()> {
        match with_write_permission(file, || remove_xattr(file, OsStr::new(NAME))) {
            Err(error) if is_missing(&error) => Ok(()),
            other => other,
        }
    }

    /// The completeness of a file that has no writer known to the mount. `file` must be open for
    /// reading only.
    pub fn write_state(&self, file: &File) -> io::Result<WriteState> {
        Ok(match read(file)? {
            None => WriteState::Complete,
            Some(mark) if mark == self.text("closed").as_bytes() => WriteState::Complete,
            Some(mark) if mark == self.live().as_bytes() => match probe_writers(file)? {
                WriterProbe::None | WriterProbe::Unknown => WriteState::Complete,
                WriterProbe::Some => WriteState::Mapped,
            },
            Some(mark) if mark.starts_with(self.text("live").as_bytes()) => {
                match probe_writers(file)? {
                    WriterProbe::None => WriteState::Complete,
                    WriterProbe::Some => WriteState::InUse,
                    WriterProbe::Unknown => WriteState::Unfinished,
                }
            }
            Some(mark) if mark.starts_with(b"1 closed ") || mark.starts_with(b"1 live ") => {
                WriteState::Unsynced
            }
            // Also for a state of a future version, which this program cannot judge.
            Some(_) => WriteState::Unfinished,
        })
    }

    /// Whether a file has a write state. Files that were made durable here, or came into the spool
    /// without the mount, have none.
    pub fn is_marked(&self, file: &File) -> io::Result<bool> {
        Ok(read(file)?.is_some())
    }

    /// Whether the state says that bytes are missing, or may be. A file that was closed, or opened
    /// live, in this boot is not in doubt.
    pub fn may_be_incomplete(&self, file: &File) -> io::Result<bool> {
        let Some(mark) = read(file)? else {
            return Ok(false);
        };
        let begins = |word| mark.starts_with(self.text(word).as_bytes());
        Ok(!(begins("closed") || begins("live")))
    }

    fn mark(file: &File, text: &str) -> io::Result<()> {
        let set = || set_xattr(file, OsStr::new(NAME), text.as_bytes(), 0);
        match with_write_permission(file, set) {
            // On a file system without attributes, incomplete files cannot be recognised.
            Err(error) if is(&error, Errno::NOTSUP) => Ok(()),
            other => other,
        }
    }

    fn text(&self, word: &str) -> String {
        format!("1 {word} {}", self.boot)
    }

    fn live(&self) -> String {
        format!("1 live {} {}", self.boot, self.process)
    }
}

/// The value of the attribute, if the file has it.
fn read(file: &File) -> io::Result<Option<Vec<u8>>> {
    match xattr(file, OsStr::new(NAME)) {
        Ok(mark) => Ok(Some(mark)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Changes attributes of a file that may be read-only for its owner, as photos from some cameras
/// are: xattr(7) needs write permission even if the file is open for writing.
pub(super) fn with_write_permission(
    file: &File,
    mut change: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    match change() {
        Err(error) if is(&error, Errno::ACCESS) => {
            let mode = Mode::from(rustix::fs::fstat(file)?.st_mode);
            rustix::fs::fchmod(file, mode | Mode::WUSR)?;
            let changed = change();
            rustix::fs::fchmod(file, mode)?;
            changed
        }
        other => other,
    }
}

/// Whether the attribute does not exist; also on a file system without attributes.
fn is_missing(error: &io::Error) -> bool {
    is(error, Errno::NODATA) || is(error, Errno::NOTSUP)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

impl fmt::Display for WriteState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Complete => "complete",
            Self::Unfinished => {
                "incomplete: file was not written to its end; copy it again, or run \
                 `heirloom retry` to back it up as it is"
            }
            Self::Unsynced => {
                "incomplete: the machine stopped before the file was synced; copy it again, or run \
                 `heirloom retry` to back it up as it is"
            }
            Self::InUse | Self::Mapped => "a program is still writing it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked_file() -> (File, WriteStateMarker) {
        (tempfile::tempfile().unwrap(), made("this", "1"))
    }

    fn made(boot: &str, process: &str) -> WriteStateMarker {
        WriteStateMarker {
            boot: boot.into(),
            process: process.into(),
        }
    }

    #[test]
    fn a_file_is_complete_once_it_was_closed() {
        let (file, marker) = marked_file();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Complete);
        marker.mark_open(&file).unwrap();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Unfinished);
        marker.mark_closed(&file).unwrap();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Complete);
    }

    #[test]
    fn a_closed_file_is_not_trusted_after_the_next_boot_unless_it_was_synced() {
        let (file, marker) = marked_file();
        let later = made("later", "1");
        marker.mark_closed(&file).unwrap();
        assert_eq!(later.write_state(&file).unwrap(), WriteState::Unsynced);
        marker.clear(&file).unwrap();
        marker.clear(&file).unwrap();
        assert_eq!(later.write_state(&file).unwrap(), WriteState::Complete);
    }

    #[test]
    fn version_1_of_the_attribute_is_readable() {
        let (file, marker) = (
            tempfile::NamedTempFile::new().unwrap().into_temp_path(),
            made("this", "1"),
        );
        // No writer may exist, this descriptor included.
        let file = File::open(&file).unwrap();
        for (mark, state) in [
            ("1 open this", WriteState::Unfinished),
            ("1 closed this", WriteState::Complete),
            ("1 closed that", WriteState::Unsynced),
            ("1 live this 1", WriteState::Complete),
            ("1 live that 1", WriteState::Unsynced),
            ("2 whatever", WriteState::Unfinished),
        ] {
            set_xattr(&file, OsStr::new("user.heirloom.mark"), mark.as_bytes(), 0).unwrap();
            assert_eq!(marker.write_state(&file).unwrap(), state, "{mark}");
        }
        marker.mark_open(&file).unwrap();
        assert_eq!(
            xattr(&file, OsStr::new("user.heirloom.mark")).unwrap(),
            b"1 open this"
        );
        marker.mark_open_passthrough(&file).unwrap();
        assert_eq!(
            xattr(&file, OsStr::new("user.heirloom.mark")).unwrap(),
            b"1 live this 1"
        );
    }

    #[test]
    fn a_live_file_is_complete_when_no_process_can_write_it() {
        let (file, marker) = (tempfile::NamedTempFile::new().unwrap(), made("this", "1"));
        let look = File::open(file.path()).unwrap();
        marker.mark_open_passthrough(&look).unwrap();
        assert_eq!(
            marker.write_state(&look).unwrap(),
            WriteState::Mapped,
            "a writer exists"
        );
        let path = file.into_temp_path();
        assert_eq!(marker.write_state(&look).unwrap(), WriteState::Complete);
        drop(path);
    }

    #[test]
    fn a_live_file_of_an_ended_process_is_complete_when_no_process_writes_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ended, ours) = (made("this", "1"), made("this", "2"));
        ended.mark_open_passthrough(file.as_file()).unwrap();
        let look = File::open(file.path()).unwrap();
        assert_eq!(ours.write_state(&look).unwrap(), WriteState::InUse);
        let path = file.into_temp_path();
        assert_eq!(ours.write_state(&look).unwrap(), WriteState::Complete);
        let reader = File::open(&path).unwrap();
        assert_eq!(
            ours.write_state(&look).unwrap(),
            WriteState::Complete,
            "readers do no harm"
        );
        drop(reader);
    }

    #[test]
    fn the_longest_value_fits_into_an_inode() {
        let marker = WriteStateMarker::of_this_boot().unwrap();
        let entry =
            |name: usize, value: usize| 16 + name.next_multiple_of(4) + value.next_multiple_of(4);
        let bytes = 4 + entry("heirloom.mark".len(), marker.live().len()) + 4;
        assert!(bytes <= 96, "{bytes}");
    }

    #[test]
    fn a_read_only_photo_gets_a_write_state_and_stays_read_only() {
        let (file, marker) = marked_file();
        marker.mark_open(&file).unwrap();
        rustix::fs::fchmod(&file, Mode::RUSR).unwrap();
        marker.mark_closed(&file).unwrap();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Complete);
        marker.clear(&file).unwrap();
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_mode & 0o777, 0o400);
    }
}
