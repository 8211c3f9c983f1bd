//! Extended attributes: those of users are kept with the file; ours tell how far its backup is.
//!
//! Ours are not listed: a program that copies all listed attributes would try to set them on the
//! copy, and fail.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use fuser::INodeNo;

use super::{SpoolPath, Tree, TreeError};
use crate::intake::{BackupState, FileStatus};
use crate::spool::{self, Kind, Metadata};

/// The attributes that we compute. Their names and words are an interface: scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    State,
    Fingerprint,
    Progress,
    Error,
}

/// Where an attribute of this name is.
enum Whose<'a> {
    Ours(Option<Told>),
    Users(&'a OsStr),
    /// Capabilities, access lists, security labels: of no meaning on another machine, and not ours
    /// to judge.
    Systems,
}

const OURS: &[u8] = b"user.heirloom.";
const USERS: &[u8] = b"user.";

impl Tree {
    pub(in crate::mount) fn xattr(
        &self,
        number: INodeNo,
        name: &OsStr,
    ) -> Result<Vec<u8>, TreeError> {
        match Whose::is(name) {
            // Asked before the first write to every file (security.capability): the answer must
            // cost nothing, and must not be ENOSYS, after which the kernel would never ask for any
            // attribute again. Told that there are none on this disk, `ls -l` asks once, not for
            // each file.
            Whose::Systems => Err(TreeError::AttributeNotKept),
            Whose::Ours(None) => Err(TreeError::NoAttribute),
            Whose::Ours(Some(told)) => self.told(number, told),
            Whose::Users(name) => {
                let _names = self.walking();
                spool::xattr(self.target(number, None)?, name)
                    .map_err(super::during("read an attribute of"))
            }
        }
    }

    pub(in crate::mount) fn list_xattrs(
        &self,
        number: INodeNo,
    ) -> Result<Vec<OsString>, TreeError> {
        let _names = self.walking();
        let mut all = spool::list_xattrs(self.target(number, None)?)
            .map_err(super::during("list the attributes of"))?;
        all.retain(|name| matches!(Whose::is(name), Whose::Users(_)));
        Ok(all)
    }

    pub(in crate::mount) fn set_xattr(
        &self,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), TreeError> {
        match Whose::is(name) {
            Whose::Ours(_) => Err(TreeError::AttributeIsOurs),
            Whose::Systems => Err(TreeError::AttributeNotKept),
            Whose::Users(name) => {
                let _names = self.walking();
                let target = self.target(number, None)?;
                spool::set_xattr(target, name, value, flags.cast_unsigned())
                    .map_err(super::during("set an attribute of"))
            }
        }
    }

    pub(in crate::mount) fn remove_xattr(
        &self,
        number: INodeNo,
        name: &OsStr,
    ) -> Result<(), TreeError> {
        match Whose::is(name) {
            Whose::Ours(_) => Err(TreeError::AttributeIsOurs),
            Whose::Systems => Err(TreeError::NoAttribute),
            Whose::Users(name) => {
                let _names = self.walking();
                spool::remove_xattr(self.target(number, None)?, name)
                    .map_err(super::during("remove an attribute of"))
            }
        }
    }

    fn told(&self, number: INodeNo, told: Told) -> Result<Vec<u8>, TreeError> {
        let (facts, path) = self.file_with_name(number)?;
        // Without the lock: intake may ask the journal, and renames need not wait for that.
        let mut status = self.notes.status(facts.id, &path);
        if told == Told::Error && status.why.is_none() {
            status.why = self
                .fetcher
                .as_ref()
                .and_then(|fetcher| fetcher.last_error(facts.id));
        }
        told.of(&status)
            .map(String::into_bytes)
            .ok_or(TreeError::NoAttribute)
    }

    fn file_with_name(
        &self,
        number: INodeNo,
    ) -> Result<(Metadata, heirloom_protocol::LibraryPath), TreeError> {
        let _names = self.walking();
        let place = self.place(self.id(number))?;
        let facts = self.spool.metadata(&place)?;
        match (place, facts.kind) {
            (SpoolPath::Entry(path), Kind::File) => Ok((facts, path)),
            (
                SpoolPath::Root | SpoolPath::Entry(_),
                Kind::File | Kind::Folder | Kind::Link | Kind::Special,
            ) => Err(TreeError::NoAttribute),
        }
    }
}

impl<'a> Whose<'a> {
    fn is(name: &'a OsStr) -> Self {
        let bytes = name.as_bytes();
        match bytes.strip_prefix(OURS) {
            Some(ours) => Self::Ours(Told::named(ours)),
            None if bytes.starts_with(USERS) => Self::Users(name),
            None => Self::Systems,
        }
    }
}

impl Told {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"state" => Some(Self::State),
            b"fingerprint" => Some(Self::Fingerprint),
            b"progress" => Some(Self::Progress),
            b"error" => Some(Self::Error),
            _ => None,
        }
    }

    fn of(self, status: &FileStatus) -> Option<String> {
        match self {
            Self::State => Some(word(status.state).to_owned()),
            Self::Fingerprint => status
                .fingerprint
                .map(|fingerprint| fingerprint.to_string()),
            Self::Progress => status
                .progress
                .map(|done| format!("{}/{}", done.received_bytes, done.total_bytes)),
            Self::Error => status.why.clone(),
        }
    }
}

fn word(state: BackupState) -> &'static str {
    match state {
        BackupState::BackedUp => "backed_up",
        BackupState::Pending => "pending",
        BackupState::Uploading => "uploading",
        BackupState::Local => "local",
        BackupState::Failed => "failed",
        BackupState::Placeholder => "placeholder",
    }
}
