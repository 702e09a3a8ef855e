//! A collector that keeps nothing, for measurements: `otlp-sink take` answers every request, `otlp-sink hang` none. Prints its
//! port.

use std::time::Duration;

use anyhow::bail;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::net::TcpListener;

/// How long `hang` keeps a request: longer than any exporter waits.
const HANG: Duration = Duration::from_secs(3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let hangs = match std::env::args().nth(1).as_deref() {
        Some("take") => false,
        Some("hang") => true,
        _ => bail!("otlp-sink take | hang"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let app = Router::new().fallback(move |body: Body| async move {
        if hangs {
            tokio::time::sleep(HANG).await;
        }
        // As it comes: a body that were kept whole would be measured too.
        let mut body = body.into_data_stream();
        while let Some(Ok(_)) = body.next().await {}
        StatusCode::OK
    });
    axum::serve(listener, app).await?;
    Ok(())
}
