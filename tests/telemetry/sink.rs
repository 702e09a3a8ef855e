//! A collector that keeps nothing, for measurements. `otlp-sink take` answers every request, `refuse` with 503, `slow` after 30 s,
//! `hang` none. Prints its port.

use std::time::Duration;

use anyhow::bail;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::net::TcpListener;

/// How long `slow` keeps a request.
const SLOW: Duration = Duration::from_secs(30);
/// How long `hang` does: longer than any exporter waits.
const HANG: Duration = Duration::from_secs(3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (pause, status) = match std::env::args().nth(1).as_deref() {
        Some("take") => (Duration::ZERO, StatusCode::OK),
        Some("refuse") => (Duration::ZERO, StatusCode::SERVICE_UNAVAILABLE),
        Some("slow") => (SLOW, StatusCode::OK),
        Some("hang") => (HANG, StatusCode::OK),
        _ => bail!("otlp-sink take | refuse | slow | hang"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let app = Router::new().fallback(move |body: Body| async move {
        tokio::time::sleep(pause).await;
        // As it comes: a body that were kept whole would be measured too.
        let mut body = body.into_data_stream();
        while let Some(Ok(_)) = body.next().await {}
        status
    });
    axum::serve(listener, app).await?;
    Ok(())
}
