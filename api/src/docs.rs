//! The page at `/docs` that shows the OpenAPI document.
//!
//! It is made of three files within this program, reads the document that stands beside it, and asks nobody else: its
//! policy lets it reach nothing but its own server, and run nothing but its own script.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};

use crate::static_file::StaticFile;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the page to the routes.
pub(crate) fn serve<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let page = StaticFile::new("text/html; charset=utf-8", include_str!("docs/index.html"))
        .with_header(CONTENT_SECURITY_POLICY, POLICY)
        .with_header(REFERRER_POLICY, "no-referrer");
    let style = StaticFile::new("text/css; charset=utf-8", include_str!("docs/docs.css"));
    let script = StaticFile::new("text/javascript; charset=utf-8", include_str!("docs/docs.js"));
    let router = page.serve(router, "/docs");
    let router = style.serve(router, "/docs/docs.css");
    script.serve(router, "/docs/docs.js")
}
