//! Where probes and metrics are answered.

use std::str::FromStr;

use super::http::{ListenAddress, MalformedAddress};

/// Where operators ask how the process is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OpsArgs {
    /// Where the process answers `/livez`, `/readyz` and `/metrics` (Prometheus), to anybody: an address that only operators
    /// reach. Without one it does not.
    #[arg(long, env = "SKEIN_OPS_LISTEN", value_name = "HOST:PORT")]
    pub ops_listen: Option<OpsAddress>,
}

impl OpsArgs {
    /// The address, if there is one.
    #[must_use]
    pub fn listen(&self) -> Option<&ListenAddress> {
        self.ops_listen.as_ref()?.0.as_ref()
    }
}

/// An address, or nothing: a variable that is set to nothing counts as unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpsAddress(Option<ListenAddress>);

impl FromStr for OpsAddress {
    type Err = MalformedAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_none() {
        let listen = |text: &str| {
            let ops_listen = Some(text.parse().unwrap());
            OpsArgs { ops_listen }.listen().map(|address| address.as_str().to_owned())
        };
        assert_eq!(listen(" "), None);
        assert_eq!(listen("0.0.0.0:9464"), Some("0.0.0.0:9464".to_owned()));
        assert_eq!("9464".parse::<OpsAddress>(), Err(MalformedAddress));
    }
}
