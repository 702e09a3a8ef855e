//! Which addresses the outside world consists of, and which are somebody's inside.
//!
//! IPv4 is judged by a list of special-purpose blocks. IPv6 is judged the other way round: only
//! `2000::/3` is handed out to the public Internet, so everything else is refused without being
//! listed, and so are the blocks inside it that carry an IPv4 address or are reserved.
//! Source: the IANA special-purpose address registries (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 blocks that no request reaches unless an operator allows it, and what they are called. A
/// narrow block stands before the wider one that it lies in.
const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "an unspecified address"),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (v4(100, 100, 100, 200, 32), "a cloud metadata address"),
    (v4(100, 64, 0, 0, 10), "a carrier-grade NAT address"),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(168, 63, 129, 16, 32), "a cloud metadata address"),
    (v4(169, 254, 0, 0, 16), "a link-local or cloud metadata address"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "a reserved address"),
    (v4(192, 0, 2, 0, 24), "a documentation address"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay address"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(198, 18, 0, 0, 15), "a benchmarking address"),
    (v4(198, 51, 100, 0, 24), "a documentation address"),
    (v4(203, 0, 113, 0, 24), "a documentation address"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(240, 0, 0, 0, 4), "a reserved or broadcast address"),
];

/// What IANA has given to the regional registries so far.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 3);

/// Blocks outside of [`GLOBAL_UNICAST`] that deserve a name of their own in the message.
const NAMED_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x0064, 0xff9b, 32), "an address that embeds an IPv4 address (NAT64)"),
    (v6(0xfc00, 0, 7), "a private address"),
    (v6(0xfe80, 0, 10), "a link-local address"),
    (v6(0xfec0, 0, 10), "a site-local address"),
    (v6(0xff00, 0, 8), "a multicast address"),
];

/// Blocks within [`GLOBAL_UNICAST`] that are refused all the same.
const REFUSED_GLOBAL_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x2001, 0, 32), "an address that embeds an IPv4 address (Teredo)"),
    (v6(0x2001, 0x0db8, 32), "a documentation address"),
    (v6(0x2001, 0, 23), "a reserved address"),
    (v6(0x2002, 0, 16), "an address that embeds an IPv4 address (6to4)"),
    (v6(0x3fff, 0, 20), "a documentation address"),
];

/// Names under which clouds serve credentials to whoever asks from inside. They are refused before
/// they are looked up, because some resolve to addresses that look public.
const METADATA_NAMES: &[&str] = &[
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.azure.internal",
    "metadata.goog",
    "metadata.google.internal",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
];

/// Why no request may go to `address` unless an operator allows it: what kind of address it is.
/// `None` for the public Internet.
#[must_use]
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

/// Whether a cloud serves credentials under this host name, written in lower case without a trailing dot.
#[must_use]
pub fn is_metadata_name(host: &str) -> bool {
    METADATA_NAMES.contains(&host)
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    REFUSED_V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let named = |table: &'static [(Ipv6Net, &'static str)]| {
        table.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
    };
    if address.is_loopback() {
        return Some("a loopback address");
    }
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    if !GLOBAL_UNICAST.contains(&address) {
        return Some(named(NAMED_V6).unwrap_or("a reserved address"));
    }
    named(REFUSED_GLOBAL_V6).or_else(|| isatap(address).and_then(refusal_v4))
}

/// The IPv4 address inside an ISATAP interface identifier (RFC 5214): `[00|02]00:5efe:a.b.c.d` under
/// any prefix, so no block can list it.
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    // Bits "u" and "g" of the identifier are not part of the organisation's number.
    let is_isatap = segments[4] & !0x0300 == 0 && segments[5] == 0x5efe;
    let [.., a, b, c, d] = address.octets();
    is_isatap.then_some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_that_are_somebodys_inside_are_refused() {
        for text in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:53aa:64c:0:fbff:80ff:fffe",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2600::5efe:10.0.0.1",
            "2600::200:5efe:127.0.0.1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff:ffff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            assert!(refusal(text.parse().unwrap()).is_some(), "{text} got through");
        }
    }

    #[test]
    fn the_public_internet_is_let_through() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "168.63.129.17",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2600::5efe:8.8.8.8",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "3ffe:ffff::1",
        ] {
            assert_eq!(refusal(text.parse().unwrap()), None, "{text} was refused");
        }
    }

    fn refused_v4() -> impl Strategy<Value = Ipv4Addr> {
        (0..REFUSED_V4.len(), any::<u32>()).prop_map(|(index, bits)| {
            let network = REFUSED_V4[index].0;
            let host = u32::from(network.hostmask()) & bits;
            Ipv4Addr::from(u32::from(network.network()) | host)
        })
    }

    /// Every way in which an RFC lets an IPv6 address carry an IPv4 address.
    fn forms(inner: Ipv4Addr, tail: u64, prefix: u64) -> Vec<Ipv6Addr> {
        let bits = u128::from(u32::from(inner));
        let low = u128::from(tail);
        let global = (0x2600_u128 << 112) | (u128::from(prefix >> 16) << 64);
        vec![
            Ipv6Addr::from(bits),                                          // IPv4-compatible
            Ipv6Addr::from((0xffff_u128 << 32) | bits),                    // IPv4-mapped
            Ipv6Addr::from((0xffff_u128 << 48) | bits),                    // IPv4-translated
            Ipv6Addr::from((0x0064_ff9b_u128 << 96) | bits),               // NAT64
            Ipv6Addr::from((0x0064_ff9b_0001_u128 << 80) | bits),          // local-use NAT64
            Ipv6Addr::from((0x2002_u128 << 112) | (bits << 80) | low),     // 6to4
            Ipv6Addr::from((0x2001_0000_u128 << 96) | (bits << 64) | low), // Teredo server
            Ipv6Addr::from((0x2001_0000_u128 << 96) | (!bits & 0xffff_ffff)), // Teredo client
            Ipv6Addr::from(global | (0x0000_5efe_u128 << 32) | bits),      // ISATAP, local
            Ipv6Addr::from(global | (0x0200_5efe_u128 << 32) | bits),      // ISATAP, global
        ]
    }

    proptest! {
        #[test]
        fn no_ipv6_form_of_a_refused_ipv4_address_gets_through(
            inner in refused_v4(), tail: u64, prefix: u64,
        ) {
            prop_assert!(refusal(inner.into()).is_some());
            for form in forms(inner, tail, prefix) {
                prop_assert!(refusal(form.into()).is_some(), "{form} carries {inner}");
            }
        }

        #[test]
        fn nothing_outside_of_global_unicast_gets_through(bits: u128) {
            let address = Ipv6Addr::from(bits);
            prop_assume!(!GLOBAL_UNICAST.contains(&address) && address.to_ipv4_mapped().is_none());
            prop_assert!(refusal(address.into()).is_some());
        }
    }
}
