//! A checked file name.

use std::ffi::OsStr;

use heirloom_protocol::LibraryPath;

use crate::mount::types::TreeError;
use crate::spool::SpoolPath;

/// A file name that can be part of a library path.
#[derive(Clone, Copy)]
pub(super) struct EntryName<'a>(pub(super) &'a str);

impl<'a> EntryName<'a> {
    pub(super) fn new(name: &'a OsStr) -> Result<Self, TreeError> {
        if name.len() > LibraryPath::NAME_BYTES_MAX {
            return Err(TreeError::NameTooLong);
        }
        let text = name.to_str().ok_or(TreeError::NameNotUtf8)?;
        match SpoolPath::Root.join(text) {
            Ok(_) if !text.contains('/') => Ok(Self(text)),
            Ok(_) | Err(_) => Err(TreeError::InvalidName),
        }
    }
}
