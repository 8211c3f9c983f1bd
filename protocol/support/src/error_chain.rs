//! An error's message with those of its causes, in one line for a person.

use std::error::Error;

/// Message and causes, the nearest first. Some crates print their cause in their own message; once
/// is enough.
pub fn display_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !chain.ends_with(&cause) {
            chain = format!("{chain}: {cause}");
        }
        source = error.source();
    }
    chain
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
        assert_eq!(display_chain(&error), "open the album: the disk is gone");
        assert_eq!(
            display_chain(&Show(error)),
            "show it: open the album: the disk is gone"
        );
    }
}
