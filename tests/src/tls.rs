//! TLS in front of a server that speaks none.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Takes TLS off and passes on what was inside, at a port of `localhost`. Nobody trusts its certificate yet. Stops when
/// dropped.
#[derive(Debug)]
pub struct Terminator {
    port: u16,
    certificate: String,
    _server: AbortOnDropHandle<()>,
}

impl Terminator {
    /// Starts one in front of a server.
    ///
    /// # Panics
    /// When there is no free port, or no certificate can be made.
    pub async fn start(to: SocketAddr) -> Self {
        let names = vec!["localhost".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::from(key))
            .expect("the key fits the certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A handshake that fails is what some tests want to see.
                    let Ok(mut inside) = acceptor.accept(stream).await else { return };
                    let Ok(mut plain) = TcpStream::connect(to).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut plain).await;
                });
            }
        };
        let server = AbortOnDropHandle::new(tokio::spawn(serve));
        Self { port, certificate: own.cert.pem(), _server: server }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, as `SSL_CERT_FILE` takes it.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}
