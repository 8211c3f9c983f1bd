//! End-to-end tests: a real mount, a real server process and the programs that people copy with.
//!
//! One binary, so that it is linked once. First the helpers, then one file for each family of
//! tests. Every test sets up its own installation in a temporary folder and leaves nothing behind.

#![expect(
    clippy::print_stdout,
    reason = "what a test prints is shown when it fails"
)]
#![expect(
    unreachable_pub,
    reason = "`pub` marks what a helper offers to the tests; a test binary exports nothing"
)]

// Helpers.
mod command;
mod device;
mod disk_images;
mod eventually;
mod http_client;
mod installation;
mod link;
#[path = "../mount/fixture/mapping.rs"]
mod mapping;
mod photo_generator;
mod seed;
mod server;
mod workload;

// Tests.
mod bit_rot;
mod changing_network;
mod copying;
mod cpu_affinity;
mod crash_points;
mod editing;
mod fault_injection;
mod free_and_fetch;
mod full_disk;
mod instant_upload;
mod kills;
mod library_sync;
mod login;
mod low_disk_space;
mod malformed_requests;
mod network_faults;
mod offline;
mod pinning;
mod power_cuts;
mod promises;
mod push;
mod quick_start;
mod random_kills;
mod refused_commands;
mod renames;
mod retry;
mod sample_photos;
mod soak;
mod sync_list;
mod trash;
mod unmount;
mod unprivileged_user;
