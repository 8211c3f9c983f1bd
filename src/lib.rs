//! The client: a mounted directory that backs up the photos copied into it.
//!
//! The modules, from the top layer down; a module names only modules below it (a test reads this
//! list):

/// The command line: commands, and what they print.
pub mod cli;
/// The daemon: starts the services of a mount in order, and stops them in reverse order.
pub mod daemon;
/// The control socket: what other processes may ask the daemon.
pub mod control;
/// The mounted directory: kernel requests become operations on the spool.
pub mod mount;
/// Backing files for FUSE passthrough, opened directly or through a privileged helper.
pub mod passthrough_helper;
/// The intake: scans closed files and records in the journal which are to be uploaded. Decides what
/// is an image, and whether it is complete.
pub mod intake;
/// The uploader: sends pending files to the server until there is a receipt for each.
pub mod uploader;
/// The library: sends name changes to the server and applies those of other devices.
pub mod library;
/// Fetches the bytes of placeholders and evicts local bytes.
pub mod fetch;
/// The server as the client sees it: requests, responses, time limits.
pub mod remote;
/// The spool: the ordinary directory tree behind the mount.
pub mod spool;
/// The journal: database of file states, upload queue, sync list, shard list and outbox. An index
/// over the spool, never the only copy of anything.
pub mod journal;
/// Configuration: where the files of a mount are, and what the user chose.
pub mod config;
/// Blocking and low-priority work, away from the async threads.
mod background;
