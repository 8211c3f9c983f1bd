//! Backing files for FUSE passthrough: passing files to the kernel, which then reads and writes
//! them for programs itself.
//!
//! The kernel accepts backing files only from a process with `CAP_SYS_ADMIN` in the initial user
//! namespace. A daemon that has it uses a [`DirectBroker`]. One that does not has a [`BrokerClient`]
//! ask the helper program `heirloom-passthrough` (`helper.rs`), if an administrator gave that
//! program the capability. Which files the helper accepts, and why no others, is in
//! docs/decisions/0017-passthrough-helper.md.

mod client;
mod helper;
mod direct;
mod broker;
mod message;
mod backing_ioctl;

#[cfg(test)]
mod tests;

pub use broker::BackingBroker;
pub use client::BrokerClient;
pub use direct::DirectBroker;
pub use helper::serve;
