//! The server from outside: real requests to a server in this process, on a free port of loopback.
#![expect(clippy::unwrap_used, reason = "a failure here is the test's answer")]

mod support;

mod assembling;
mod images;
mod library;
mod login;
mod neighbours;
mod parcels;
mod possession;
mod quotas;
mod rate_limit;
mod receipts;
mod refusals;
mod restarts;
mod rotting;
mod scopes;
mod time_limits;
mod trash;
mod transport;
mod walk;
