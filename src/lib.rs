//! The client: a mounted directory that backs up what lands in it.
//!
//! The modules, from the top layer down; a module names only modules below it (a test reads this
//! list):

/// What a person types, and what they read.
pub mod cli;
/// The running house: every room started, and stopped, in order.
pub mod daemon;
/// What other processes may ask the running house, over a Unix socket.
pub mod control;
/// The mounted directory: kernel requests become operations on the spool.
pub mod mount;
/// Backing files for FUSE passthrough, opened directly or through a privileged helper.
pub mod passthrough_helper;
/// The intake: scans closed files and records in the journal which are to be uploaded.
pub mod intake;
/// Uploads: sends pending files to the server until there is a receipt for each.
pub mod uploader;
/// The names of photos, as the server should know them (M11).
pub mod library;
/// Bringing photos back that are only on the server, and giving local room up.
pub mod fetch;
/// The server as the client sees it: requests, responses, time limits.
pub mod remote;
/// The spool: the ordinary directory tree behind the mount.
pub mod spool;
/// The journal: database of file states, upload queue, sync list, shard list and outbox. An index
/// over the spool, never the only copy of anything.
pub mod journal;
/// Where things are, and what the person decided.
pub mod config;
/// Where work goes that nobody waits for.
mod background;
