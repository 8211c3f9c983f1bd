//! The promises of the journal, each by its name.

mod crash;
mod damage;
pub(crate) mod disk;
mod files;
mod groups;
mod names;
mod records;
mod tally;
mod samples;

use samples::*;
