//! The TLS implementation of the process.

/// Makes ring the TLS implementation of the process. Idempotent and safe to call from anywhere.
///
/// The blocking client of the OTLP exporter and every `reqwest` client of this workspace are built
/// without a provider of their own, and panic or fail when none is installed.
pub fn install_crypto_provider() {
    // An error says that a provider is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
