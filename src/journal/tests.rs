//! Tests of the journal, each named for what the journal guarantees.

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
