//! The HTTP API from outside: real requests to a server in this process, on a free loopback port.
#![expect(
    clippy::unwrap_used,
    reason = "a failed assertion is the test's result"
)]

mod support;

mod batches;
mod bit_rot;
mod errors;
mod images;
mod isolation;
mod library;
mod life_cycle;
mod login;
mod possession;
mod quotas;
mod rate_limit;
mod receipts;
mod restarts;
mod scopes;
mod shards;
mod time_limits;
mod transport;
mod trash;
