//! Export over TLS, with ring.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use skein_tests::otlp::Receiver;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::scenario_process::{RUNTIMES, play};

/// A server that takes TLS off and passes on what was inside.
async fn terminator(
    to: SocketAddr,
    certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
) -> anyhow::Result<(u16, AbortOnDropHandle<()>)> {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], PrivateKeyDer::from(key))?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A handshake that fails is what one of the tests wants to see.
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                let Ok(mut plain) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut plain).await;
            });
        }
    };
    Ok((port, AbortOnDropHandle::new(tokio::spawn(serve))))
}

#[tokio::test]
async fn spans_travel_over_tls_to_a_collector_that_the_system_trusts() -> anyhow::Result<()> {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let folder = std::env::temp_dir().join(format!("skein-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let trusted = folder.join("trusted.pem");
    std::fs::write(&trusted, certificate.cert.pem())?;
    for runtime in RUNTIMES {
        let receiver = Receiver::start().await;
        let (port, _terminator) = terminator(receiver.address(), &certificate).await?;
        let endpoint = format!("https://localhost:{port}");
        let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
        let stranger = play(runtime, "server", &environment).await?;
        assert_eq!(receiver.spans(), [], "a certificate that nobody trusts was accepted");
        assert!(stranger.log.iter().any(|line| line.contains("ExportError")));
        let trusted = trusted.to_string_lossy();
        environment.push(("SSL_CERT_FILE", &trusted));
        play(runtime, "server", &environment).await?;
        assert_eq!(receiver.tree(), "SERVER GET /v1/runs @skein-test\n");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
