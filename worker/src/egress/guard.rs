//! Where requests may go: the check of literal addresses and names before a request, and the resolver
//! that filters and pins what a name stands for.
//!
//! A connection only ever goes to an address that this very lookup returned and that was checked, so
//! a name that changes its mind between check and use (DNS rebinding) gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address;
use super::allow::AllowRule;
use super::target::{canonical_name, host_of};

/// An address or a name that requests may not reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is {reason}")]
pub(super) struct Refusal {
    pub(super) host: String,
    pub(super) reason: &'static str,
}

/// A name that stands for no address.
#[derive(Debug, thiserror::Error)]
#[error("the name could not be looked up")]
pub(super) struct LookupFailed(#[source] io::Error);

/// The answer of a lookup in flight.
pub(super) type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// How names are looked up.
pub(super) trait Lookup: Send + Sync {
    /// The addresses of `host`; their ports mean nothing.
    fn lookup(&self, host: String) -> Answer;
}

/// The operating system's resolver.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> Answer {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// The rules for requests to one port (or to all ports that no rule names).
pub(super) struct Guard {
    rules: Vec<AllowRule>,
}

impl Guard {
    /// Those of `rules` that speak of `port`; `None` is any port that no rule names.
    pub(super) fn for_port(rules: &[AllowRule], port: Option<u16>) -> Self {
        Self { rules: rules.iter().filter(|rule| rule.covers_port(port)).cloned().collect() }
    }

    /// Checks what can be known before a lookup: names of metadata services and literal addresses,
    /// for which the HTTP client never asks a resolver.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        let Some((host, literal)) = host_of(url) else {
            return Err(Refusal { host: String::new(), reason: "no host" });
        };
        match literal {
            Some(address) => self.check_address(&host, address),
            None if address::is_metadata_name(&host) && !self.opens_name(&host) => {
                Err(Refusal { host, reason: "a cloud metadata service" })
            }
            None => Ok(()),
        }
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        let address = address.to_canonical();
        match address::refusal(address) {
            Some(reason) if !self.rules.iter().any(|rule| rule.covers_address(address)) => {
                Err(Refusal { host: host.to_owned(), reason })
            }
            _ => Ok(()),
        }
    }

    fn opens_name(&self, host: &str) -> bool {
        self.rules.iter().any(|rule| rule.covers_name(host))
    }

    /// Checks all that a name stands for. One refused address among good ones refuses the name: an
    /// honest name has no business mixing them.
    fn check_answer(&self, host: &str, addresses: &[SocketAddr]) -> Result<(), Refusal> {
        let name = canonical_name(host);
        if self.opens_name(&name) {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.check_address(&name, address.ip()))
    }
}

/// The resolver of one connection pool: what it returns has been checked.
pub(super) struct GuardedResolver {
    pub(super) guard: Arc<Guard>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.guard);
        let host = name.as_str().to_owned();
        let answer = self.lookup.lookup(host.clone());
        Box::pin(async move {
            let mut addresses = answer.await.map_err(LookupFailed)?;
            guard.check_answer(&host, &addresses)?;
            // Port 0 means: the port of the URL.
            addresses.iter_mut().for_each(|address| address.set_port(0));
            Ok::<Addrs, _>(Box::new(addresses.into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scripted(Vec<&'static str>);

    impl Lookup for Scripted {
        fn lookup(&self, _: String) -> Answer {
            let addresses =
                self.0.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 7)).collect();
            Box::pin(async move { Ok(addresses) })
        }
    }

    fn guard(rules: &str, port: Option<u16>) -> Guard {
        Guard::for_port(&AllowRule::parse_list(rules).unwrap(), port)
    }

    fn is_open(guard: &Guard, url: &str) -> bool {
        guard.check_url(&Url::parse(url).unwrap()).is_ok()
    }

    async fn resolve(
        rules: &str,
        host: &str,
        answer: &[&'static str],
    ) -> Result<Vec<String>, String> {
        let guard = Arc::new(guard(rules, None));
        let lookup = Arc::new(Scripted(answer.to_vec()));
        let resolved = GuardedResolver { guard, lookup }.resolve(host.parse().unwrap()).await;
        resolved.map(|all| all.map(|a| a.to_string()).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn odd_spellings_of_refused_addresses_are_refused() {
        let guard = guard("", None);
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://0/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
            "http://user:pass@127.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[0:0:0:0:0:ffff:7f00:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[fd00:ec2::254]/latest/meta-data/",
            "http://2852039166/latest/meta-data/",
            "http://metadata.google.internal/",
            "http://METADATA.google.internal./",
            "http://metadata/",
        ] {
            assert!(!is_open(&guard, url), "{url} got through");
        }
        assert!(
            is_open(&guard, "http://93.184.216.34/") && is_open(&guard, "https://example.com/")
        );
    }

    #[test]
    fn rules_open_what_they_name_and_nothing_else() {
        let at_80 = guard("10.0.0.0/8,[::1]:80,metadata.google.internal", Some(80));
        for url in ["http://10.9.9.9/", "http://[::1]/", "http://metadata.google.internal./"] {
            assert!(is_open(&at_80, url), "{url}");
        }
        assert!(is_open(&at_80, "http://[::ffff:10.0.0.1]/"), "it is the same address");
        for url in ["http://127.0.0.1/", "http://11.0.0.1.:80@192.168.0.1/", "http://metadata/"] {
            assert!(!is_open(&at_80, url), "{url}");
        }
        assert!(!is_open(&guard("[::1]:80", None), "http://[::1]:81/"));
    }

    #[tokio::test]
    async fn a_name_is_refused_when_one_of_its_addresses_is() {
        let refused = resolve("", "rebind.example", &["93.184.216.34", "10.0.0.1"]).await;
        assert_eq!(refused.unwrap_err(), "rebind.example is a private address");
        for inside in ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::1"] {
            assert!(resolve("", "rebind.example", &[inside]).await.is_err(), "{inside}");
        }
    }

    #[tokio::test]
    async fn what_was_checked_is_what_is_connected_to() {
        let open = resolve("", "example.com", &["93.184.216.34", "2606:4700::1"]).await.unwrap();
        assert_eq!(open, ["93.184.216.34:0", "[2606:4700::1]:0"]);
        assert!(resolve("10.0.0.0/8", "db.example", &["10.0.0.1", "8.8.8.8"]).await.is_ok());
        assert!(resolve("db.example", "DB.example.", &["192.168.0.1"]).await.is_ok());
        assert!(resolve("db.example", "a.db.example", &["192.168.0.1"]).await.is_err());
    }
}
