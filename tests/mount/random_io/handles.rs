//! Open descriptors of one file in the mount, and a mapping of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, copy_file_range, fallocate};

use super::super::fixture::TestMount;
use super::super::fixture::mapping::Mapping;
use super::step::{SIZE_MAX, Step, Via};

/// The name of the file.
pub(crate) const NAME: &str = "exercised.jpg";

pub(crate) struct OpenHandles {
    path: PathBuf,
    spooled: PathBuf,
    both: File,
    other: File,
    writer: File,
    reader: File,
    appender: File,
    map: Mapping,
}

impl OpenHandles {
    /// Opens everything, and creates the file if it does not exist.
    pub(crate) fn open(mounted: &TestMount) -> Self {
        let path = mounted.path(NAME);
        let options = || {
            let mut options = File::options();
            options.read(true).write(true).create(true);
            options
        };
        let both = options().open(&path).unwrap();
        Self {
            map: Mapping::of(&both, SIZE_MAX).unwrap(),
            both,
            other: options().open(&path).unwrap(),
            writer: File::options().write(true).open(&path).unwrap(),
            reader: File::open(&path).unwrap(),
            appender: File::options().append(true).open(&path).unwrap(),
            spooled: mounted.spool_path(NAME),
            path,
        }
    }

    /// Applies a step; returns what it read.
    pub(crate) fn apply(&mut self, step: &Step) -> io::Result<Option<Vec<u8>>> {
        match step {
            Step::Read { via, at, count } => return self.read(*via, *at, *count).map(Some),
            Step::Write {
                via: Via::Map,
                at,
                bytes,
            } => self.map.write(*at, &bytes.all()),
            Step::Write { via, at, bytes } => {
                self.file(*via).write_all_at(&bytes.all(), *at as u64)?;
            }
            Step::Append { bytes } => self.appender.write_all(&bytes.all())?,
            Step::Resize { via, size } => self.file(*via).set_len(*size as u64)?,
            Step::ResizeByName { size } => {
                File::options()
                    .write(true)
                    .open(&self.path)?
                    .set_len(*size as u64)?;
            }
            Step::Empty => drop(File::create(&self.path)?),
            Step::Allocate {
                at,
                count,
                keep_size,
            } => {
                let flags = if *keep_size {
                    FallocateFlags::KEEP_SIZE
                } else {
                    FallocateFlags::empty()
                };
                fallocate(&self.both, flags, *at as u64, *count as u64)?;
            }
            Step::Punch { at, count } => self.clear(FallocateFlags::PUNCH_HOLE, *at, *count)?,
            Step::Zero { at, count } => self.clear(FallocateFlags::ZERO_RANGE, *at, *count)?,
            Step::Copy { from, to, count } => self.copy(*from, *to, *count)?,
            Step::Sync { via } => self.file(*via).sync_all()?,
            Step::SyncMap => {
                self.map.sync()?;
                return fs::read(&self.spooled).map(Some);
            }
            Step::Reopen { via } => self.reopen(*via)?,
            Step::Rename => {
                let away = self.path.with_extension("away");
                fs::rename(&self.path, &away)?;
                fs::rename(&away, &self.path)?;
            }
        }
        Ok(None)
    }

    /// The size that `fstat` reports.
    pub(crate) fn size(&self) -> usize {
        usize::try_from(self.reader.metadata().unwrap().len()).unwrap()
    }

    fn file(&self, via: Via) -> &File {
        match via {
            Via::Both | Via::Map => &self.both,
            Via::Other => &self.other,
            Via::Writer => &self.writer,
            Via::Reader => &self.reader,
        }
    }

    fn read(&self, via: Via, at: usize, count: usize) -> io::Result<Vec<u8>> {
        if via == Via::Map {
            // Beyond the end of the file nothing may be accessed.
            let end = (at + count).min(self.size());
            return Ok(if at < end {
                self.map.read(at, end - at)
            } else {
                Vec::new()
            });
        }
        let (mut bytes, mut done) = (vec![0; count], 0);
        while done < count {
            match self
                .file(via)
                .read_at(&mut bytes[done..], (at + done) as u64)?
            {
                0 => break,
                read => done += read,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    fn clear(&self, how: FallocateFlags, at: usize, count: usize) -> io::Result<()> {
        Ok(fallocate(
            &self.writer,
            how | FallocateFlags::KEEP_SIZE,
            at as u64,
            count as u64,
        )?)
    }

    fn copy(&self, from: usize, to: usize, count: usize) -> io::Result<()> {
        // The copy may make the file longer, and so its own source.
        let end = (from + count).min(self.size()) as u64;
        let (mut from, mut to) = (from as u64, to as u64);
        while from < end {
            let left = usize::try_from(end - from).expect("as small as the file");
            if copy_file_range(
                &self.reader,
                Some(&mut from),
                &self.both,
                Some(&mut to),
                left,
            )? == 0
            {
                break;
            }
        }
        Ok(())
    }

    fn reopen(&mut self, via: Via) -> io::Result<()> {
        let read_write = || File::options().read(true).write(true).open(&self.path);
        match via {
            Via::Both => self.both = read_write()?,
            Via::Other => self.other = read_write()?,
            Via::Writer => self.writer = File::options().write(true).open(&self.path)?,
            Via::Reader => self.reader = File::open(&self.path)?,
            Via::Map => self.map = Mapping::of(&self.other, SIZE_MAX)?,
        }
        Ok(())
    }
}
