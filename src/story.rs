//! The story of an error: its message and those of its causes, in one line for a person.

use std::error::Error;

/// Message and causes, the nearest first. Some crates print their cause in their own message; once
/// is enough.
pub(crate) fn story(error: &dyn Error) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !story.ends_with(&cause) {
            story = format!("{story}: {cause}");
        }
        source = error.source();
    }
    story
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the album")]
    struct Open(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("show it: {0}")]
    struct Show(#[source] Open);

    #[test]
    fn every_cause_is_told_once() {
        let error = Open(io::Error::other("the disk is gone"));
        assert_eq!(story(&error), "open the album: the disk is gone");
        assert_eq!(
            story(&Show(error)),
            "show it: open the album: the disk is gone"
        );
    }
}
