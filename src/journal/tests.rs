//! The promises of the journal, each by its name.

mod files;
mod words;

use words::*;
