//! Export over TLS, with ring.

use skein_tests::otlp::Receiver;
use skein_tests::tls::Terminator;

use crate::scenario_process::{RUNTIMES, play};

#[tokio::test]
async fn spans_travel_over_tls_to_a_collector_that_the_system_trusts() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("skein-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let trusted = folder.join("trusted.pem");
    for runtime in RUNTIMES {
        let receiver = Receiver::start().await;
        let terminator = Terminator::start(receiver.address()).await;
        std::fs::write(&trusted, terminator.certificate())?;
        let endpoint = format!("https://localhost:{}", terminator.port());
        let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
        let stranger = play(runtime, "server", &environment).await?;
        assert_eq!(receiver.spans(), [], "a certificate that nobody trusts was accepted");
        let mut told = stranger.lines();
        told.retain(|line| line["remedy"].as_str().is_some_and(|it| it.contains("SSL_CERT_FILE")));
        assert_eq!(told.len(), 1, "{:#?}", stranger.log);
        assert!(told[0]["cause"].as_str().is_some_and(|it| it.contains("certificate")));
        let trusted = trusted.to_string_lossy();
        environment.push(("SSL_CERT_FILE", &trusted));
        play(runtime, "server", &environment).await?;
        assert_eq!(receiver.tree(), "SERVER GET /v1/runs @skein-test\n");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
