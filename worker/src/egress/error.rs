//! Why a request yielded no answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::guard::{LookupFailed, Refusal};
use super::target::Target;
use super::{CONNECT_TIMEOUT, REDIRECTS_MAX};

/// Why a request yielded no answer. Messages name hosts and ports, never credentials, paths or queries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The address is somebody's inside, and no operator has allowed it.
    #[error(
        "{host} is {reason}, which requests may not reach unless an operator lists it in SKEIN_HTTP_ALLOW"
    )]
    Refused {
        /// The host as the URL named it.
        host: String,
        /// What kind of address it is.
        reason: &'static str,
    },
    /// The URL, or one that a redirect led to, is not `http` or `https`.
    #[error("only http and https addresses can be requested, not {scheme}")]
    Scheme {
        /// What it is instead.
        scheme: String,
    },
    /// A redirect led to a redirect, [`REDIRECTS_MAX`] times.
    #[error("{host} redirected once more after {REDIRECTS_MAX} redirects")]
    TooManyRedirects {
        /// The last host.
        host: String,
    },
    /// The request cannot be sent as it is.
    #[error("the request to {host} cannot be sent as it is")]
    Unsendable {
        /// The host.
        host: String,
    },
    /// The name stands for no address, or nobody could be asked.
    #[error("the name {host} could not be looked up")]
    Lookup {
        /// The name.
        host: String,
    },
    /// No connection came about.
    #[error("no connection to {target}: {detail}")]
    Connect {
        /// Host and port.
        target: String,
        /// What the operating system said.
        detail: String,
    },
    /// The other side's certificate does not prove that it is who it should be.
    #[error("the certificate of {target} is not valid")]
    Certificate {
        /// Host and port.
        target: String,
    },
    /// No whole answer in time.
    #[error("no answer from {target} within {}", skein_shared::domain::duration::format(*.limit))]
    Timeout {
        /// Host and port.
        target: String,
        /// The time that there was.
        limit: Duration,
    },
    /// The connection broke, or what came over it was no HTTP: the other side may have acted on the request.
    #[error("the answer from {target} broke off or was not HTTP")]
    Interrupted {
        /// Host and port.
        target: String,
    },
    /// More came than a node may yield.
    #[error("the {part} of the answer from {target} is larger than {limit} bytes")]
    TooLarge {
        /// Host and port.
        target: String,
        /// `body`, decompressed, or `head`.
        part: &'static str,
        /// What would have been accepted, in bytes.
        limit: usize,
    },
}

impl EgressError {
    /// A stable word for spans and for failures of nodes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "address_refused",
            Self::Scheme { .. } | Self::Unsendable { .. } => "invalid_request",
            Self::TooManyRedirects { .. } => "too_many_redirects",
            Self::Lookup { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::Certificate { .. } => "certificate",
            Self::Timeout { .. } => "timeout",
            Self::Interrupted { .. } => "interrupted",
            Self::TooLarge { .. } => "response_too_large",
        }
    }

    /// Whether the same request may fare better later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Lookup { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Interrupted { .. } => true,
            Self::Refused { .. }
            | Self::Scheme { .. }
            | Self::Unsendable { .. }
            | Self::TooManyRedirects { .. }
            | Self::Certificate { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::Refused { host: refusal.host, reason: refusal.reason }
    }

    /// Classifies an error of the HTTP client. Nothing of its text is kept: it may hold the URL.
    pub(crate) fn classify(error: &reqwest::Error, target: &Target) -> Self {
        let name = target.to_string();
        if let Some(refusal) = find::<Refusal>(error) {
            return Self::refused(refusal.clone());
        }
        if find::<LookupFailed>(error).is_some() {
            return Self::Lookup { host: target.host.clone() };
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = find::<rustls::Error>(error) {
            return Self::Certificate { target: name };
        }
        if error.is_timeout() {
            return Self::Timeout { target: name, limit: CONNECT_TIMEOUT };
        }
        if error.is_builder() {
            return Self::Unsendable { host: target.host.clone() };
        }
        if error.is_connect() {
            let detail = find::<io::Error>(error)
                .map_or_else(|| "it failed".to_owned(), |error| error.kind().to_string());
            return Self::Connect { target: name, detail };
        }
        Self::Interrupted { target: name }
    }
}

/// The first error of that type in the chain of sources. An [`io::Error`] hides what it wraps from
/// the chain, so it is looked into as well.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_inside_io_errors() {
        let cause = Refusal { host: "h".to_owned(), reason: "r" };
        let nested = io::Error::other(io::Error::other(cause.clone()));
        assert_eq!(find::<Refusal>(&nested), Some(&cause));
        assert!(find::<rustls::Error>(&nested).is_none());
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let handshake =
            io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired.clone()));
        assert_eq!(find::<rustls::Error>(&handshake), Some(&expired));
    }
}
