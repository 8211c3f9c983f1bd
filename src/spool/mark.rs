//! *The mark*: an attribute of a spooled file whose bytes may not all be there, or not on the disk
//! yet.
//!
//! A file that somebody is copying when we are killed or the power goes is found again as half a
//! photo, and nothing in its bytes says so for certain. So a file carries a mark from its opening
//! for writing until its bytes are known to be durable. What is found with a mark at a later start
//! is shown to its owner, and never backed up as if it were whole.
//!
//! A power cut also takes bytes of files that were closed, since nobody had made them durable yet.
//! So the mark names the boot of the machine that it was made in: a closed file of this boot is
//! whole, for the page cache has outlived us.
//!
//! Where the kernel writes to the file without us, our end does not stop a program that is copying,
//! and nobody waits for us when it closes. Such a file is marked *live* once, at its opening. It is
//! whole when nobody can write to it any more. The mount does not know of a mapping that outlived
//! its descriptor, nor of a program that outlived the process which made the mark: the disk is
//! asked.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::writers::{Others, writers};
use super::{remove_xattr, set_xattr, xattr};

/// The attribute. Its value is `1 open BOOT`, `1 closed BOOT` or `1 live BOOT PROCESS`; the 1 is
/// its version. The longest, with its name, just fits into an inode of ext4 (256 bytes, 96 of them
/// for attributes); a longer one would cost every file a block.
const NAME: &str = "user.heirloom.mark";

/// Names this boot of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Makes and reads marks.
#[derive(Clone, Debug)]
pub struct WriteStateMarker {
    boot: Arc<str>,
    /// Ours among the processes of this boot: 8 hexadecimal digits.
    process: Arc<str>,
}

/// Whether the bytes of a file are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteState {
    /// They are.
    Complete,
    /// Whoever wrote it never closed it.
    Unfinished,
    /// The machine stopped before its bytes were known to be on the disk.
    Unsynced,
    /// A program that outlived the process which opened the file for it is still writing.
    InUse,
    /// A program of this process's mount has it mapped, and may still write.
    Mapped,
}

impl WriteStateMarker {
    /// A marker for this boot of the machine, and one process of it: clones mark for the same
    /// process.
    pub fn of_this_boot() -> io::Result<Self> {
        let boot = std::fs::read_to_string(BOOT_ID)?.trim().into();
        Ok(Self {
            boot,
            process: format!("{:08x}", fastrand::u32(..)).into(),
        })
    }

    /// Somebody opens it for writing.
    pub fn mark_open(&self, file: &File) -> io::Result<()> {
        Self::mark(file, &self.text("open"))
    }

    /// Somebody opens it for writing, and the kernel will write without us.
    pub fn mark_open_passthrough(&self, file: &File) -> io::Result<()> {
        Self::mark(file, &self.live())
    }

    /// All its writers have closed it.
    pub fn mark_closed(&self, file: &File) -> io::Result<()> {
        Self::mark(file, &self.text("closed"))
    }

    /// Its bytes are durable: the mark goes.
    pub fn clear(&self, file: &File) -> io::Result<()> {
        match writable(file, || remove_xattr(file, OsStr::new(NAME))) {
            Err(error) if is_missing(&error) => Ok(()),
            other => other,
        }
    }

    /// What the mark says of a file that nobody has open for writing now, nor who asks: `file` must
    /// be open for reading only.
    pub fn write_state(&self, file: &File) -> io::Result<WriteState> {
        Ok(match read(file)? {
            None => WriteState::Complete,
            Some(mark) if mark == self.text("closed").as_bytes() => WriteState::Complete,
            Some(mark) if mark == self.live().as_bytes() => match writers(file)? {
                Others::None | Others::Unknown => WriteState::Complete,
                Others::Some => WriteState::Mapped,
            },
            Some(mark) if mark.starts_with(self.text("live").as_bytes()) => match writers(file)? {
                Others::None => WriteState::Complete,
                Others::Some => WriteState::InUse,
                Others::Unknown => WriteState::Unfinished,
            },
            Some(mark) if mark.starts_with(b"1 closed ") || mark.starts_with(b"1 live ") => {
                WriteState::Unsynced
            }
            // A mark of a version to come as well: we cannot vouch for that file.
            Some(_) => WriteState::Unfinished,
        })
    }

    /// Whether it has a mark, whatever that says. None is on what was made durable here, and on
    /// what came here without us.
    pub fn is_marked(&self, file: &File) -> io::Result<bool> {
        Ok(read(file)?.is_some())
    }

    /// Whether the mark says that bytes are missing, or may be. One of this boot that says no more
    /// than that somebody wrote it is no doubt.
    pub fn may_be_incomplete(&self, file: &File) -> io::Result<bool> {
        let Some(mark) = read(file)? else {
            return Ok(false);
        };
        let begins = |word| mark.starts_with(self.text(word).as_bytes());
        Ok(!(begins("closed") || begins("live")))
    }

    fn mark(file: &File, text: &str) -> io::Result<()> {
        let set = || set_xattr(file, OsStr::new(NAME), text.as_bytes(), 0);
        match writable(file, set) {
            // A filesystem without attributes: torn files cannot be told there.
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

/// The file's mark, if it has one.
fn read(file: &File) -> io::Result<Option<Vec<u8>>> {
    match xattr(file, OsStr::new(NAME)) {
        Ok(mark) => Ok(Some(mark)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Changes attributes of a file that may be read-only for its owner, as photos from some cameras
/// are: xattr(7) asks for the right to write even where the file is open for it.
pub(super) fn writable(file: &File, mut change: impl FnMut() -> io::Result<()>) -> io::Result<()> {
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

/// There is none, also where the disk keeps no attributes.
fn is_missing(error: &io::Error) -> bool {
    is(error, Errno::NODATA) || is(error, Errno::NOTSUP)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

impl fmt::Display for WriteState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Complete => "whole",
            Self::Unfinished => "incomplete: it was not written to its end; copy it again, or `heirloom retry` it as it is",
            Self::Unsynced => "incomplete: the machine stopped before it was on the disk; copy it again, or `heirloom retry` it as it is",
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
    fn a_file_is_whole_again_once_it_was_closed() {
        let (file, marker) = marked_file();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Complete);
        marker.mark_open(&file).unwrap();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Unfinished);
        marker.mark_closed(&file).unwrap();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Complete);
    }

    #[test]
    fn a_closed_file_is_not_trusted_after_the_next_boot_unless_it_was_sealed() {
        let (file, marker) = marked_file();
        let later = made("later", "1");
        marker.mark_closed(&file).unwrap();
        assert_eq!(later.write_state(&file).unwrap(), WriteState::Unsynced);
        marker.clear(&file).unwrap();
        marker.clear(&file).unwrap();
        assert_eq!(later.write_state(&file).unwrap(), WriteState::Complete);
    }

    #[test]
    fn the_mark_of_version_1_is_read_for_ever() {
        let (file, marker) = (
            tempfile::NamedTempFile::new().unwrap().into_temp_path(),
            made("this", "1"),
        );
        // Nobody writes: who looks must not either.
        let file = File::open(&file).unwrap();
        for (mark, soundness) in [
            ("1 open this", WriteState::Unfinished),
            ("1 closed this", WriteState::Complete),
            ("1 closed that", WriteState::Unsynced),
            ("1 live this 1", WriteState::Complete),
            ("1 live that 1", WriteState::Unsynced),
            ("2 whatever", WriteState::Unfinished),
        ] {
            set_xattr(&file, OsStr::new("user.heirloom.mark"), mark.as_bytes(), 0).unwrap();
            assert_eq!(marker.write_state(&file).unwrap(), soundness, "{mark}");
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
    fn a_live_file_is_whole_when_nobody_can_write_it_any_more() {
        let (file, marker) = (tempfile::NamedTempFile::new().unwrap(), made("this", "1"));
        let look = File::open(file.path()).unwrap();
        marker.mark_open_passthrough(&look).unwrap();
        assert_eq!(
            marker.write_state(&look).unwrap(),
            WriteState::Mapped,
            "somebody has it"
        );
        let path = file.into_temp_path();
        assert_eq!(marker.write_state(&look).unwrap(), WriteState::Complete);
        drop(path);
    }

    #[test]
    fn a_live_file_of_an_ended_process_is_whole_when_nobody_writes_it_any_more() {
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
    fn the_longest_mark_fits_into_an_inode() {
        let marker = WriteStateMarker::of_this_boot().unwrap();
        let entry =
            |name: usize, value: usize| 16 + name.next_multiple_of(4) + value.next_multiple_of(4);
        let bytes = 4 + entry("heirloom.mark".len(), marker.live().len()) + 4;
        assert!(bytes <= 96, "{bytes}");
    }

    #[test]
    fn a_read_only_photo_is_marked_and_stays_read_only() {
        let (file, marker) = marked_file();
        marker.mark_open(&file).unwrap();
        rustix::fs::fchmod(&file, Mode::RUSR).unwrap();
        marker.mark_closed(&file).unwrap();
        assert_eq!(marker.write_state(&file).unwrap(), WriteState::Complete);
        marker.clear(&file).unwrap();
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_mode & 0o777, 0o400);
    }
}
