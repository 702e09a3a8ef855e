//! Where a program listens.

use std::fmt;
use std::str::FromStr;

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct HttpArgs {
    /// Where the API listens. The default is reachable from this machine only.
    #[arg(long, env = "SKEIN_LISTEN", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub listen: ListenAddress,
}

/// A host name or address and a port, as `tokio::net::TcpListener::bind` takes it. Port 0 lets the system choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress(String);

impl ListenAddress {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no address to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT, for instance 127.0.0.1:8080 or [::]:8080")]
pub struct MalformedAddress;

impl FromStr for ListenAddress {
    type Err = MalformedAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').ok_or(MalformedAddress)?;
        let is_ipv6 = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || port.parse::<u16>().is_err() || (host.contains(':') && !is_ipv6) {
            return Err(MalformedAddress);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for text in ["127.0.0.1:8080", "localhost:0", "[::1]:8080", "0.0.0.0:80"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().as_str(), text);
        }
        for text in ["", "8080", ":8080", "localhost", "localhost:", "localhost:99999", "::1:80"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(MalformedAddress), "{text:?}");
        }
    }
}
