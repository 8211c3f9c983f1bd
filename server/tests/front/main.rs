//! The server from outside: real requests to a server in this process, on a free port of loopback.
#![expect(clippy::unwrap_used, reason = "a failure here is the test's answer")]

mod support;

mod walk;
