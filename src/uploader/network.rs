//! The kind of network link behind the default route. It only sets the first shard size.
//!
//! Read from the kernel's own files (proc(5) `/proc/net/route`, `ipv6_route`; sysfs `class/net`),
//! because that needs no network manager and no permission. A link that cannot be read is
//! `Unknown`, which starts at a medium size.

use std::fs;
use std::path::Path;

use heirloom_protocol::LinkKind;

/// `RTF_UP` of `linux/route.h`: the route may be used.
const ROUTE_UP: u32 = 1;
/// Interface types of `linux/if_arp.h`.
const ETHERNET: u32 = 1;
const LOOPBACK: u32 = 772;
/// Modems that speak IP without a link layer (`qmi_wwan` and its like).
const RAW_IP: u32 = 519;

/// The kind of link to the server; `loopback` says that the server is this machine. Reads a few
/// small files of the kernel's.
pub(super) fn detect(loopback: bool) -> LinkKind {
    if loopback {
        return LinkKind::Loopback;
    }
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let interface = default_interface(&read("/proc/net/route"), &read("/proc/net/ipv6_route"));
    interface.map_or(LinkKind::Unknown, |name| InterfaceInfo::read(&name).kind())
}

/// The interface of the default route with the lowest metric; IPv4's before IPv6's.
fn default_interface(ipv4: &str, ipv6: &str) -> Option<String> {
    ipv4.lines()
        .filter_map(ipv4_default)
        .min_by_key(|(metric, _)| *metric)
        .or_else(|| {
            ipv6.lines()
                .filter_map(ipv6_default)
                .min_by_key(|(metric, _)| *metric)
        })
        .map(|(_, name)| name.to_owned())
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, numbers in hex but for the metric.
fn ipv4_default(line: &str) -> Option<(u32, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [name, destination, _, flags, _, _, metric, mask, ..] = fields.as_slice() else {
        return None;
    };
    let up = u32::from_str_radix(flags, 16).ok()? & ROUTE_UP != 0;
    (up && *destination == "00000000" && *mask == "00000000")
        .then_some((metric.parse().ok()?, name))
}

/// `destination length source length gateway metric refcnt use flags name`, all in hex.
fn ipv6_default(line: &str) -> Option<(u32, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, length, _, _, _, metric, _, _, flags, name] = fields.as_slice() else {
        return None;
    };
    let up = u32::from_str_radix(flags, 16).ok()? & ROUTE_UP != 0;
    // The kernel keeps an unreachable default route on `lo`.
    (up && *length == "00" && *name != "lo")
        .then_some((u32::from_str_radix(metric, 16).ok()?, name))
}

/// What sysfs says about a network interface.
#[derive(Clone, Debug, Default)]
struct InterfaceInfo {
    /// Its `type`, a number of `linux/if_arp.h`.
    hardware: Option<u32>,
    /// Its `uevent`, lines of `KEY=value`.
    uevent: String,
    /// Whether it has a folder `wireless` or a link `phy80211`.
    wireless: bool,
}

impl InterfaceInfo {
    fn read(interface: &str) -> Self {
        let folder = Path::new("/sys/class/net").join(interface);
        let read_file = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        Self {
            hardware: read_file("type").trim().parse().ok(),
            uevent: read_file("uevent"),
            wireless: folder.join("wireless").exists() || folder.join("phy80211").exists(),
        }
    }

    fn kind(&self) -> LinkKind {
        match self
            .uevent
            .lines()
            .find_map(|line| line.strip_prefix("DEVTYPE="))
        {
            Some("wwan") => return LinkKind::Cellular,
            Some("wlan") => return LinkKind::Wifi,
            Some(_) | None => {}
        }
        match self.hardware {
            _ if self.wireless => LinkKind::Wifi,
            Some(RAW_IP) => LinkKind::Cellular,
            Some(ETHERNET) => LinkKind::Ethernet,
            Some(LOOPBACK) => LinkKind::Loopback,
            Some(_) | None => LinkKind::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAPTOP: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlp3s0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
enp0s31f6\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
enp0s31f6\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
down0\t00000000\t0100A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0
";
    const IPV6_ONLY: &str = "\
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     wwan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 00000001 00000001 00000000 00200201       lo
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
";

    #[test]
    fn the_default_route_with_the_lowest_metric_is_taken() {
        assert_eq!(
            default_interface(LAPTOP, IPV6_ONLY).as_deref(),
            Some("enp0s31f6")
        );
        assert_eq!(default_interface("", IPV6_ONLY).as_deref(), Some("wwan0"));
        assert_eq!(default_interface("", ""), None);
        assert_eq!(default_interface("eth0 0 0\n\0 garbage", "x"), None);
    }

    #[test]
    fn the_kind_of_interface_follows_from_sysfs() {
        let interface = |hardware, uevent: &str, wireless| InterfaceInfo {
            hardware,
            uevent: uevent.to_owned(),
            wireless,
        };
        let modem = "DEVTYPE=wwan\nINTERFACE=wwan0\nIFINDEX=4\n";
        assert_eq!(interface(Some(1), modem, false).kind(), LinkKind::Cellular);
        assert_eq!(interface(Some(519), "", false).kind(), LinkKind::Cellular);
        assert_eq!(
            interface(Some(1), "DEVTYPE=wlan\nINTERFACE=wlp3s0\n", false).kind(),
            LinkKind::Wifi
        );
        assert_eq!(
            interface(Some(1), "INTERFACE=wlan0\n", true).kind(),
            LinkKind::Wifi
        );
        assert_eq!(
            interface(Some(1), "INTERFACE=eth0\nIFINDEX=2\n", false).kind(),
            LinkKind::Ethernet
        );
        assert_eq!(
            interface(Some(1), "DEVTYPE=bridge\n", false).kind(),
            LinkKind::Ethernet
        );
        assert_eq!(
            interface(Some(65534), "DEVTYPE=wireguard\n", false).kind(),
            LinkKind::Unknown
        );
        assert_eq!(interface(None, "", false).kind(), LinkKind::Unknown);
    }

    #[test]
    fn a_server_on_this_machine_needs_no_route() {
        assert_eq!(detect(true), LinkKind::Loopback);
    }
}
