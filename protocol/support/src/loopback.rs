//! Whether an address is this machine's own loopback.

use std::net::IpAddr;

/// Whether `address` is loopback: 127.0.0.0/8, `::1`, or the first mapped into IPv6
/// (`::ffff:127.0.0.1`), which is how a dual-stack socket reports it.
pub const fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the host part of a URL is this machine: `localhost` or a loopback address, an IPv6
/// address with or without its brackets. Looks nothing up.
///
/// ```
/// use heirloom_support::loopback::is_loopback_host;
/// assert!(is_loopback_host("[::1]") && is_loopback_host("localhost"));
/// assert!(!is_loopback_host("photos.example"));
/// ```
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || bare.unwrap_or(host).parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_loopback_is_known() {
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "[::1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        assert!(is_loopback_host("[::ffff:127.0.0.1]"));
        for host in [
            "",
            "10.0.0.1",
            "[::2]",
            "localhost.example",
            "127.0.0.1.example",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
