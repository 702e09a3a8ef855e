//! Whom a URL names.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// Whom a request goes to, as messages say it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(super) host: String,
    port: Option<u16>,
}

impl Target {
    pub(crate) fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().to_owned();
        Self { host, port: url.port_or_known_default() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A URL's host as rules spell it, and its address if it is a literal one. The URL parser has already
/// turned odd spellings (`0x7f.1`, `2130706433`, full-width digits) into plain ones; this is the same
/// test that the connector makes to skip the resolver.
pub(super) fn host_of(url: &Url) -> Option<(String, Option<IpAddr>)> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some((host.to_owned(), Some(address))),
        Err(_) => Some((canonical_name(host), None)).filter(|(name, _)| !name.is_empty()),
    }
}

/// A name as rules spell it.
pub(super) fn canonical_name(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}
