//! Extended attributes: those of users are stored with the file; virtual ones report its backup
//! state.
//!
//! Virtual attributes are not listed: a program that copies all listed attributes would try to set
//! them on the copy, and fail.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use heirloom_protocol::LibraryPath;

use super::tree::Tree;
use crate::intake::{BackupState, FileStatus};
use crate::mount::types::{Ino, TreeError};
use crate::spool::{self, Kind, Metadata, SpoolPath};

/// A virtual attribute. Names and values are an interface that scripts read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VirtualXattr {
    State,
    Fingerprint,
    Progress,
    Error,
}

/// The namespace of an attribute.
enum XattrNamespace<'a> {
    /// `user.heirloom.`; `None` if there is no attribute of that name.
    Virtual(Option<VirtualXattr>),
    /// `user.`
    User(&'a OsStr),
    /// All others: capabilities, access lists and security labels mean nothing on another machine.
    System,
}

const VIRTUAL_PREFIX: &[u8] = b"user.heirloom.";
const USER_PREFIX: &[u8] = b"user.";

impl Tree {
    pub(in crate::mount) fn xattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>, TreeError> {
        match XattrNamespace::of(name) {
            // The kernel asks for security.capability before the first write to every file: the
            // reply must cost nothing. It must not be ENOSYS, after which the kernel would ask for
            // no attribute again. After EOPNOTSUPP, `ls -l` does not ask for each file.
            XattrNamespace::System => Err(TreeError::UnsupportedXattr),
            XattrNamespace::Virtual(None) => Err(TreeError::NoXattr),
            XattrNamespace::Virtual(Some(xattr)) => self.virtual_xattr(ino, xattr),
            XattrNamespace::User(name) => {
                let _names = self.lock_names();
                spool::xattr(self.target(ino, None)?, name)
                    .map_err(TreeError::during("read an attribute of"))
            }
        }
    }

    pub(in crate::mount) fn list_xattrs(&self, ino: Ino) -> Result<Vec<OsString>, TreeError> {
        let _names = self.lock_names();
        let mut all = spool::list_xattrs(self.target(ino, None)?)
            .map_err(TreeError::during("list the attributes of"))?;
        all.retain(|name| matches!(XattrNamespace::of(name), XattrNamespace::User(_)));
        Ok(all)
    }

    pub(in crate::mount) fn set_xattr(
        &self,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), TreeError> {
        match XattrNamespace::of(name) {
            XattrNamespace::Virtual(_) => Err(TreeError::ReservedXattr),
            XattrNamespace::System => Err(TreeError::UnsupportedXattr),
            XattrNamespace::User(name) => {
                let _names = self.lock_names();
                let target = self.target(ino, None)?;
                spool::set_xattr(target, name, value, flags.cast_unsigned())
                    .map_err(TreeError::during("set an attribute of"))
            }
        }
    }

    pub(in crate::mount) fn remove_xattr(&self, ino: Ino, name: &OsStr) -> Result<(), TreeError> {
        match XattrNamespace::of(name) {
            XattrNamespace::Virtual(_) => Err(TreeError::ReservedXattr),
            XattrNamespace::System => Err(TreeError::NoXattr),
            XattrNamespace::User(name) => {
                let _names = self.lock_names();
                spool::remove_xattr(self.target(ino, None)?, name)
                    .map_err(TreeError::during("remove an attribute of"))
            }
        }
    }

    fn virtual_xattr(&self, ino: Ino, xattr: VirtualXattr) -> Result<Vec<u8>, TreeError> {
        let (metadata, path) = self.file_with_name(ino)?;
        // Without the lock: the listener may read the journal, and renames need not wait for that.
        let mut status = self.listener.status(metadata.id, &path);
        if xattr == VirtualXattr::Error && status.why.is_none() {
            status.why = self
                .fetcher
                .as_ref()
                .and_then(|fetcher| fetcher.last_error(metadata.id));
        }
        xattr
            .value(&status)
            .map(String::into_bytes)
            .ok_or(TreeError::NoXattr)
    }

    fn file_with_name(&self, ino: Ino) -> Result<(Metadata, LibraryPath), TreeError> {
        let _names = self.lock_names();
        let place = self.path(self.id(ino))?;
        let metadata = self.spool.metadata(&place)?;
        match (place, metadata.kind) {
            (SpoolPath::Entry(path), Kind::File) => Ok((metadata, path)),
            (
                SpoolPath::Root | SpoolPath::Entry(_),
                Kind::File | Kind::Folder | Kind::Link | Kind::Special,
            ) => Err(TreeError::NoXattr),
        }
    }
}

impl<'a> XattrNamespace<'a> {
    fn of(name: &'a OsStr) -> Self {
        let bytes = name.as_bytes();
        match bytes.strip_prefix(VIRTUAL_PREFIX) {
            Some(name) => Self::Virtual(VirtualXattr::named(name)),
            None if bytes.starts_with(USER_PREFIX) => Self::User(name),
            None => Self::System,
        }
    }
}

impl VirtualXattr {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"state" => Some(Self::State),
            b"fingerprint" => Some(Self::Fingerprint),
            b"progress" => Some(Self::Progress),
            b"error" => Some(Self::Error),
            _ => None,
        }
    }

    fn value(self, status: &FileStatus) -> Option<String> {
        match self {
            Self::State => Some(state_word(status.state).to_owned()),
            Self::Fingerprint => status
                .fingerprint
                .map(|fingerprint| fingerprint.to_string()),
            Self::Progress => status
                .progress
                .map(|progress| format!("{}/{}", progress.received_bytes, progress.total_bytes)),
            Self::Error => status.why.clone(),
        }
    }
}

fn state_word(state: BackupState) -> &'static str {
    match state {
        BackupState::BackedUp => "backed_up",
        BackupState::Pending => "pending",
        BackupState::Uploading => "uploading",
        BackupState::Local => "local",
        BackupState::Failed => "failed",
        BackupState::Placeholder => "placeholder",
    }
}
