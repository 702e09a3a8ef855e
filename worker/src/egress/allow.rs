//! What an operator opens: `SKEIN_HTTP_ALLOW`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use reqwest::Url;

/// Rules in one list. Every request looks at each of them, and every port that one names costs a
/// connection pool.
pub const ALLOW_RULES_MAX: usize = 64;

/// A host or a network that requests may reach although it is private, on one port or on all.
///
/// Written `host`, `*.domain` (its subdomains, not itself), an address or a network in CIDR notation,
/// each with an optional `:port`; IPv6 with a port goes in brackets: `[::1]:8080`, `[fd00::/8]:443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Name(String),
    Subdomains(String),
    Network(IpNet),
}

/// Text that is no [`AllowRule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{rule}` is no rule for outbound requests: {problem}; write host, host:port, *.domain, 10.0.0.0/8 or [fd00::/8]:443"
)]
pub struct MalformedRule {
    rule: String,
    problem: &'static str,
}

impl AllowRule {
    /// Reads a comma-separated list, as `SKEIN_HTTP_ALLOW` holds it. Empty entries are skipped.
    ///
    /// # Errors
    /// When an entry is malformed or there are more than [`ALLOW_RULES_MAX`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, MalformedRule> {
        let rules = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(str::parse)
            .collect::<Result<Vec<Self>, _>>()?;
        if rules.len() > ALLOW_RULES_MAX {
            return Err(MalformedRule { rule: "…".to_owned(), problem: "too many rules" });
        }
        Ok(rules)
    }

    /// The port that the rule is limited to.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the rule speaks of requests to `port`.
    pub(super) fn covers_port(&self, port: Option<u16>) -> bool {
        self.port.is_none() || self.port == port
    }

    /// Whether the rule opens `host`, in lower case without a trailing dot, wherever it resolves to.
    pub(super) fn covers_name(&self, host: &str) -> bool {
        match &self.target {
            Target::Name(name) => name == host,
            Target::Subdomains(domain) => {
                host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
            }
            Target::Network(_) => false,
        }
    }

    /// Whether the rule opens `address`, which is canonical.
    pub(super) fn covers_address(&self, address: IpAddr) -> bool {
        matches!(&self.target, Target::Network(network) if network.contains(&address))
    }
}

impl FromStr for AllowRule {
    type Err = MalformedRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |problem| MalformedRule { rule: text.to_owned(), problem };
        let (host, port) = split_port(text).map_err(malformed)?;
        let target = if let Some(domain) = host.strip_prefix("*.") {
            match normalise(domain).map_err(malformed)? {
                Target::Name(name) => Target::Subdomains(name),
                _ => return Err(malformed("an address has no subdomains")),
            }
        } else if let Ok(network) = host.parse::<IpNet>() {
            Target::Network(network.trunc())
        } else if let Ok(address) = host.parse::<IpAddr>() {
            Target::Network(address.into())
        } else {
            normalise(host).map_err(malformed)?
        };
        if matches!(target, Target::Network(IpNet::V6(net)) if net.network().to_ipv4_mapped().is_some())
        {
            return Err(malformed("an IPv4-mapped network is written as IPv4"));
        }
        Ok(Self { target, port })
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.port) {
            (Target::Name(name), _) => f.write_str(name)?,
            (Target::Subdomains(domain), _) => write!(f, "*.{domain}")?,
            (Target::Network(IpNet::V6(network)), Some(_)) => write!(f, "[{network}]")?,
            (Target::Network(network), _) => write!(f, "{network}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("a bracket is not closed")?;
        match (after.strip_prefix(':'), after) {
            (Some(port), _) => (host, Some(port)),
            (None, "") => (host, None),
            _ => return Err("only a port may follow the bracket"),
        }
    } else if text.matches(':').count() == 1 {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    } else {
        (text, None)
    };
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("the port is not a number from 1 to 65535"),
        },
    };
    Ok((host, port))
}

/// A host name as URLs spell it (lower case, punycode), or the address that it is a spelling of.
fn normalise(host: &str) -> Result<Target, &'static str> {
    const PROBLEM: &str = "it is neither a host name nor a network";
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err(PROBLEM);
    }
    let url = Url::parse(&format!("http://{host}/")).map_err(|_| PROBLEM)?;
    match super::target::host_of(&url) {
        Some((_, Some(address))) => Ok(Target::Network(address.into())),
        Some((name, None)) => Ok(Target::Name(name)),
        None => Err(PROBLEM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> AllowRule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_survive_a_round_trip() {
        for (text, shown) in [
            ("api.internal", "api.internal"),
            ("API.Internal.:8443", "api.internal:8443"),
            ("*.corp.example", "*.corp.example"),
            ("*.corp.example:80", "*.corp.example:80"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8:443", "10.0.0.0/8:443"),
            ("127.1:80", "127.0.0.1/32:80"),
            ("::1", "::1/128"),
            ("[::1]:8080", "[::1/128]:8080"),
            ("[fd00::/8]", "fd00::/8"),
            ("[fd00::/8]:443", "[fd00::/8]:443"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(rule(text).to_string(), shown, "{text}");
            assert_eq!(rule(shown), rule(text), "{text}");
        }
    }

    #[test]
    fn malformed_rules_are_refused() {
        for text in [
            "host:0",
            "host:65536",
            "host:http",
            "[::1",
            "[::1]8080",
            "*.10.0.0.1",
            "*",
            "*.",
            "a*.example.com",
            "http://host",
            "user@host",
            "host/path",
            "10.0.0.0/33",
            "::ffff:10.0.0.0/104",
            "host name",
        ] {
            assert!(text.parse::<AllowRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_skips_empty_entries_and_has_an_end() {
        assert_eq!(AllowRule::parse_list("").unwrap(), []);
        assert_eq!(AllowRule::parse_list(" a.b , ,10.0.0.0/8,").unwrap().len(), 2);
        assert!(AllowRule::parse_list(&"a.b,".repeat(ALLOW_RULES_MAX + 1)).is_err());
        assert!(AllowRule::parse_list("a.b,c:d").unwrap_err().to_string().contains("`c:d`"));
    }

    #[test]
    fn a_wildcard_covers_subdomains_only() {
        let rule = rule("*.corp.example");
        assert!(rule.covers_name("a.corp.example") && rule.covers_name("a.b.corp.example"));
        for host in ["corp.example", "evilcorp.example", ".corp.example", "a.corp.example.org"] {
            assert!(!rule.covers_name(host), "{host}");
        }
    }
}
